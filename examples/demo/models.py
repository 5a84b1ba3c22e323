"""The demo's models: real third-party code (transformers) with random weights from a fixed seed.

Building one twice, in whatever process, gives the same weights and inputs, bit for bit.
"""

import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    ResNetConfig,
    ResNetForImageClassification,
)

SEED = 20


def bert():
    """BERT-base: 12 layers, 768 wide, 110 million weights; one sentence of 64 tokens."""
    config = BertConfig()
    ids = torch.randint(0, config.vocab_size, (1, 64))
    return BertModel(config), {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }


def resnet50():
    """ResNet-50, 25 million weights; one picture of 224 x 224."""
    return ResNetForImageClassification(ResNetConfig(num_labels=1000)), {"pixel_values": torch.randn(1, 3, 224, 224)}


def gpt2_small():
    """A GPT-2 that is bound by Python: 12 layers, 64 wide, so that the operators are small; 16 tokens."""
    config = GPT2Config(
        n_layer=12, n_embd=64, n_head=4, vocab_size=1000, n_positions=64, use_cache=False, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config), {"input_ids": torch.randint(0, 1000, (1, 16))}


MODELS = {"bert": bert, "resnet50": resnet50, "gpt2_small": gpt2_small}


def build(name):
    """The model, ready to serve, and its keyword arguments: a dict of tensors."""
    torch.manual_seed(SEED)
    model, inputs = MODELS[name]()
    return model.eval().requires_grad_(False), inputs


def tensors(output):
    """The tensors of an output, depth first, in the order in which serve_package.cpp walks it."""
    if isinstance(output, torch.Tensor):
        return [output]
    items = output.values() if hasattr(output, "values") else output if isinstance(output, (list, tuple)) else ()
    return [tensor for item in items for tensor in tensors(item)]
