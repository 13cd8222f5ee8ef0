"""What the writer and the readers of exported models agree on."""

ENCODER_HASH = "eosin.encoder_hash"
"""In an ONNX file: the hash of all that it computes up to its features."""

HEAD = "eosin.head"
"""In an ONNX file: the graph from its features to its logits, ONNX in base64."""

PROJECTION_SUFFIX = ".projection.onnx"
"""A bag model's graph from single instances to what is aggregated."""

AGGREGATOR_SUFFIX = ".aggregator.onnx"
"""A bag model's graph from all projected instances to logits and attention."""
