"""Models of third-party libraries, as their users build them: nothing of them is changed, weights are random, sizes small. More are
in zoo_architectures.py and zoo_pretrained.py.

Each function gives (object, arguments) or (object, arguments, keyword arguments, method). The decorator says what kind of model it
is, and which distributions are interned in the interned form; what these need besides is extern.
"""

import dataclasses
import tempfile

import torch


@dataclasses.dataclass(frozen=True)
class Entry:
    """`reason`: why there is no interned form."""

    name: str
    kind: str
    build: object
    libraries: tuple[str, ...]
    reason: str = ""


ZOO: dict[str, Entry] = {}


def model(kind, *libraries, reason=""):
    def add(function):
        ZOO[function.__name__] = Entry(function.__name__, kind, function, libraries, reason)
        return function

    return add


def ids(size, *shape):
    return torch.randint(5, size, shape)


# transformers


@model("encoder", "transformers")
def bert():
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
    words = ids(config.vocab_size, 2, 16)
    return BertModel(config).eval(), (), {"input_ids": words, "attention_mask": torch.ones_like(words)}


@model("generate() with a KV cache", "transformers")
def gpt2_generate():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=500, bos_token_id=0, eos_token_id=499)
    return (
        GPT2LMHeadModel(config).eval(),
        (ids(400, 1, 8),),
        {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0},
    )
    "generate"


@model("generate(), sampling", "transformers")
def llama_sample():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=128, vocab_size=500
    )
    return LlamaForCausalLM(config).eval(), (ids(400, 1, 8),), {"max_new_tokens": 12, "do_sample": True}, "generate"


@model("sequence to sequence", "transformers")
def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=500, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval(), (ids(400, 2, 12),), {"max_new_tokens": 8}, "generate"


@model("speech to text", "transformers")
def whisper():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=50,
        vocab_size=500,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    arguments = {"input_features": torch.randn(1, 80, 100), "decoder_input_ids": torch.tensor([[1, 5, 6]])}
    return WhisperForConditionalGeneration(config).eval(), (), arguments


@model("speech", "transformers")
def wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=32)
    return Wav2Vec2ForCTC(config).eval(), (torch.randn(1, 4000),)


@model("vision transformer", "transformers")
def vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=64)
    return ViTForImageClassification(config).eval(), (torch.randn(1, 3, 64, 64),)


@model("detection", "transformers")
def yolos():
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=[64, 64])
    return YolosForObjectDetection(config).eval(), (torch.randn(1, 3, 64, 64),)


@model("segmentation", "transformers")
def segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], decoder_hidden_size=32, num_labels=5)
    return SegformerForSemanticSegmentation(config).eval(), (torch.randn(1, 3, 64, 64),)


class Classifier:
    """A tokenizer (written in Rust) and a model, as applications keep them together."""

    def __init__(self, tokenizer, model):
        self.tokenizer = tokenizer
        self.model = model

    def __call__(self, texts):
        inputs = self.tokenizer(texts, padding=True, return_tensors="pt")
        return inputs["input_ids"], self.model(**inputs).logits


@model("text classification with a Rust tokenizer", "transformers")
def tokenizer_and_model():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", *["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran"]]
    raw = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]")
    config = DistilBertConfig(vocab_size=len(words), dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    return Classifier(tokenizer, DistilBertForSequenceClassification(config).eval()), (["the cat sat", "a dog ran and ran"],)


# Vision


@model("vision CNN", "timm")
def timm_resnet():
    import timm

    return timm.create_model("resnet10t", num_classes=10).eval(), (torch.randn(1, 3, 64, 64),)


@model("vision transformer", "timm")
def timm_vit():
    import timm

    return timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=10).eval(), (torch.randn(1, 3, 224, 224),)


@model("segmentation", "segmentation-models-pytorch", "timm")
def smp_unet():
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, classes=3).eval(), (torch.randn(1, 3, 64, 64),)


@model("vision transformer", "vit-pytorch")
def vit_pytorch():
    from vit_pytorch import ViT

    net = ViT(image_size=32, patch_size=8, num_classes=10, dim=32, depth=2, heads=2, mlp_dim=64)
    return net.eval(), (torch.randn(1, 3, 32, 32),)


@model("image and text", "open_clip_torch")
def open_clip():
    from open_clip.model import CLIP

    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 16, "vocab_size": 200, "width": 64, "heads": 2, "layers": 2}
    return CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text).eval(), (torch.randn(1, 3, 32, 32), ids(200, 1, 16))


@model("medical segmentation", "monai")
def monai_unet():
    from monai.networks.nets import UNet

    return UNet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1).eval(), (torch.randn(1, 1, 32, 32),)


@model("medical segmentation transformer", "monai")
def monai_swin():
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=2, feature_size=12, spatial_dims=2).eval(), (torch.randn(1, 1, 64, 64),)


# Diffusion


@model("diffusion U-Net", "diffusers")
def diffusers_unet():
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    )
    return net.eval(), (torch.randn(1, 4, 16, 16), torch.tensor(3), torch.randn(1, 5, 32))


@model("diffusion pipeline", "diffusers")
def diffusers_pipeline():
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    net = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return DDPMPipeline(net.eval(), DDPMScheduler(num_train_timesteps=10)), (), {"num_inference_steps": 2, "output_type": "np"}


# Language, without transformers


@model("language model", "x-transformers", "einops")
def x_transformers():
    from x_transformers import Decoder, TransformerWrapper

    net = TransformerWrapper(num_tokens=100, max_seq_len=64, attn_layers=Decoder(dim=32, depth=2, heads=2, rotary_pos_emb=True))
    return net.eval(), (ids(100, 1, 12),)


@model("sentence embedding", "sentence-transformers", "transformers")
def sentence_embedding():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as tokenizer_models
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", *["the", "cat", "sat", "on", "a", "mat"]]
    raw = Tokenizer(tokenizer_models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=len(words))
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
        transformer = parts.Transformer(folder)
    net = SentenceTransformer(modules=[transformer, parts.Pooling(32)], device="cpu")
    return net.eval(), (["the cat sat", "a mat"],), {"show_progress_bar": False}, "encode"


@model("LoRA adapter", "peft", "transformers")
def peft_lora():
    from peft import LoraConfig, get_peft_model

    llama, arguments, *_ = llama_sample()
    return get_peft_model(llama, LoraConfig(r=4, target_modules=["q_proj", "v_proj"])).eval(), (), {"input_ids": arguments[0]}


# Graphs, tables, recommenders, policies


@model("graph network", "torch-geometric")
def gcn():
    from torch_geometric.nn import GCN

    edges = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 0]])
    return GCN(8, 16, num_layers=2, out_channels=3).eval(), (torch.randn(4, 8), edges)


@model("graph attention network", "torch-geometric")
def gat():
    from torch_geometric.nn import GAT

    edges = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 0]])
    return GAT(8, 16, num_layers=2, out_channels=3, v2=True).eval(), (torch.randn(4, 8), edges)


@model("recommender", "deepctr-torch")
def deepfm():
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import DeepFM

    features = [SparseFeat("user", 20, 4), SparseFeat("item", 30, 4), DenseFeat("price", 1)]
    return DeepFM(features, features, task="binary").eval(), (torch.tensor([[1.0, 2.0, 0.5], [3.0, 4.0, 1.5]]),)


@model("tabular", "pytorch-tabnet")
def tabnet():
    from pytorch_tabnet.tab_network import TabNet

    return TabNet(8, 2, n_d=4, n_a=4, n_steps=2, group_attention_matrix=torch.eye(8)).eval(), (torch.randn(4, 8),)


@model("tabular transformer", "rtdl_revisiting_models")
def ft_transformer():
    from rtdl_revisiting_models import FTTransformer

    net = FTTransformer(
        n_cont_features=4,
        cat_cardinalities=[3, 5],
        d_out=1,
        n_blocks=1,
        d_block=16,
        attention_n_heads=2,
        attention_dropout=0.0,
        ffn_d_hidden_multiplier=2.0,
        ffn_dropout=0.0,
        residual_dropout=0.0,
    )
    return net.eval(), (torch.randn(2, 4), torch.tensor([[0, 1], [2, 4]]))


@model("RL policy", "stable-baselines3", "gymnasium")
def ppo_policy():
    from gymnasium import spaces
    from stable_baselines3.common.policies import ActorCriticPolicy

    box = spaces.Box(-1.0, 1.0, (4,))
    return ActorCriticPolicy(box, spaces.Discrete(2), lr_schedule=_constant_rate).eval(), (torch.randn(2, 4), True)


def _constant_rate(progress):
    return 3e-4


@model("Gaussian process", "gpytorch", "linear-operator")
def gaussian_process():
    from gpytorch.kernels import RBFKernel, ScaleKernel

    return ScaleKernel(RBFKernel(ard_num_dims=2)).eval(), (torch.randn(5, 2), torch.randn(3, 2)), {}, "forward"


@model("Bayesian optimisation", "botorch", "gpytorch", "linear-operator")
def botorch_gp():
    from botorch.models import SingleTaskGP

    x = torch.rand(8, 2, dtype=torch.float64)
    return Posterior(SingleTaskGP(x, x.sum(-1, keepdim=True)).eval()), (torch.rand(3, 2, dtype=torch.float64),)


class Posterior:
    """Mean and variance of a Gaussian process."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        posterior = self.model.posterior(x)
        return posterior.mean, posterior.variance


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, t, y):
        return torch.tanh(self.linear(y)) * t


class Ode(torch.nn.Module):
    """A user's own module that calls a library."""

    def __init__(self):
        super().__init__()
        self.field = Field()

    def forward(self, y, t):
        from torchdiffeq import odeint

        return odeint(self.field, y, t)


@model("differential equation", "torchdiffeq")
def neural_ode():
    import torchdiffeq  # noqa: F401

    return Ode().eval(), (torch.randn(2, 3), torch.linspace(0, 1, 4))


# Not PyTorch


@model("scikit-learn pipeline", reason="scikit-learn has extension modules")
def sklearn_pipeline():
    import numpy
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = numpy.random.default_rng(0)
    x = random.normal(size=(60, 4))
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)).fit(x, (x.sum(1) > 0).astype(int))
    return pipeline, (x[:5],), {}, "predict_proba"


@model("PyTorch net as a scikit-learn estimator", "skorch")
def skorch_classifier():
    import numpy
    from skorch import NeuralNetClassifier

    x = numpy.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    net = NeuralNetClassifier(Softmax, max_epochs=1, train_split=None, verbose=0).fit(x, (x.sum(1) > 0).astype("int64"))
    return net, (x[:4],), {}, "predict_proba"


class Softmax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        return torch.softmax(self.linear(x), -1)
