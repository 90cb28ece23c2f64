"""A bundle in a web page: `recbole-odrec demo`. Neither PyTorch, RecBole nor ONNX Runtime is imported here."""
