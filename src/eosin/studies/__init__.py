"""How a study is made: its splits, folds and encoders. Keras is imported below."""
