import keras
import numpy as np

from eosin.models.clinical_head import ClinicalHead

COLUMNS = np.array([[1.0, -2.0, 0.0], [0.0, 0.5, 1.0]], np.float32)


def test_it_starts_by_saying_nothing():
    head = ClinicalHead(2)
    assert np.array(keras.ops.convert_to_numpy(head(COLUMNS))).tolist() == [[0, 0]] * 2


def test_columns_are_weighed_alike_in_keras_and_numpy():
    head = ClinicalHead(1)
    head.build((None, 3))
    head.set_weights([np.array([[1.0], [2.0], [3.0]])])
    expected = [[-3.0], [4.0]]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(COLUMNS)), expected)
    np.testing.assert_allclose(head.predict(COLUMNS), expected)


def test_its_arguments_make_another():
    head = ClinicalHead.from_config(ClinicalHead(3, name="own").get_config())
    assert (head.n_outputs, head.name) == (3, "own")
