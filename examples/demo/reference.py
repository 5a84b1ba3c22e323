"""What plain PyTorch answers, in a process of its own with one intra-op thread: writes FOLDER/NAME.reference, the bytes of all
output tensors one after the other. It builds the model anew, so neither packages nor interpreters take part in it."""

import pathlib
import sys

import models
import torch


def main():
    folder, name = sys.argv[1:]
    torch.set_num_threads(1)
    model, inputs = models.build(name)
    outputs = models.tensors(model(**inputs))
    data = b"".join(tensor.contiguous().numpy().tobytes() for tensor in outputs)
    pathlib.Path(folder, f"{name}.reference").write_bytes(data)


if __name__ == "__main__":
    main()
