"""How a model file runs.

in → the bytes of an ONNX file, and batches of tokens, stamps and context (NumPy or CuPy)
out → embeddings and zero-shot logits of the same namespace

`choose.py` picks the engine (TensorRT where there is a GPU, else ONNX Runtime) and says why; `eager.py` is torch, for tests and benchmarks.
"""
