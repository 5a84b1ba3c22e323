"""More architectures of the libraries of zoo.py, and models of others: random weights, sizes small."""

import torch
from zoo import ids, model

# transformers


@model("image and text", "transformers")
def clip():
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 200}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
    config = CLIPConfig(text_config=text, vision_config={**vision, "patch_size": 8}, projection_dim=16)
    return CLIPModel(config).eval(), (), {"input_ids": ids(200, 2, 8), "pixel_values": torch.randn(1, 3, 32, 32)}


@model("encoder with relative positions", "transformers")
def deberta():
    from transformers import DebertaV2Config, DebertaV2Model

    config = DebertaV2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=200,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
    )
    return DebertaV2Model(config).eval(), (ids(200, 2, 8),)


@model("state-space model, generate()", "transformers")
def mamba():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=200, state_size=8)
    return MambaForCausalLM(config).eval(), (ids(200, 1, 6),), {"max_new_tokens": 5, "do_sample": False}, "generate"


@model("mixture of experts, generate()", "transformers")
def mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        vocab_size=200,
    )
    return MixtralForCausalLM(config).eval(), (ids(200, 1, 6),), {"max_new_tokens": 5, "do_sample": False}, "generate"


@model("summarisation, beam search", "transformers")
def bart_beams():
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=200,
        forced_eos_token_id=None,
    )
    return BartForConditionalGeneration(config).eval(), (ids(200, 1, 8),), {"max_new_tokens": 6, "num_beams": 3}, "generate"


@model("vision transformer in windows", "transformers")
def swin():
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    return SwinModel(config).eval(), (torch.randn(1, 3, 32, 32),), {"output_hidden_states": True}


@model("segmentation by prompts", "transformers")
def sam():
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    vision = SamVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8, output_channels=32, mlp_dim=64,
        global_attn_indexes=[1], window_size=4, num_pos_feats=16,
    )  # fmt: skip
    prompts = SamPromptEncoderConfig(hidden_size=32, image_size=64, patch_size=8, mask_input_channels=4, input_image_size=64)
    decoder = SamMaskDecoderConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, mlp_dim=64, iou_head_hidden_dim=32, attention_downsample_rate=2
    )
    net = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    return net.eval(), (), {"pixel_values": torch.randn(1, 3, 64, 64), "input_points": torch.tensor([[[[20.0, 30.0]]]])}


@model("speech synthesis", "transformers")
def vits():
    from transformers import VitsConfig, VitsModel

    config = VitsConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        flow_size=32,
        spectrogram_bins=33,
        upsample_initial_channel=32,
        prior_encoder_num_flows=2,
        posterior_encoder_num_wavenet_layers=2,
    )
    return VitsModel(config).eval(), (ids(40, 1, 12),)


@model("audio codec", "transformers")
def encodec():
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(num_filters=4, hidden_size=16, codebook_dim=16, codebook_size=64, num_lstm_layers=1)
    return EncodecModel(config).eval(), (torch.randn(1, 1, 4000),)


@model("time series", "transformers")
def patch_tst():
    from transformers import PatchTSTConfig, PatchTSTForPrediction

    config = PatchTSTConfig(
        num_input_channels=3, context_length=32, prediction_length=8, patch_length=8, d_model=16, num_hidden_layers=2,
        num_attention_heads=2, ffn_dim=32,
    )  # fmt: skip
    return PatchTSTForPrediction(config).eval(), (torch.randn(2, 32, 3),)


@model("depth estimation", "transformers")
def dpt():
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16, 16, 32, 32], fusion_hidden_size=16,
    )  # fmt: skip
    return DPTForDepthEstimation(config).eval(), (torch.randn(1, 3, 32, 32),)


@model("encoder with accelerate's hooks in it", "transformers")
def dispatched():
    from accelerate import dispatch_model
    from zoo import bert

    net, *example = bert()
    return dispatch_model(net, {"": "cpu"}, main_device="cpu", force_hooks=True), *example


# Vision and diffusion


@model("features of several layers", "timm")
def timm_features():
    import timm

    return timm.create_model("convnext_atto", features_only=True).eval(), (torch.randn(1, 3, 64, 64),)


@model("autoencoder", "diffusers")
def autoencoder():
    from diffusers import AutoencoderKL

    net = AutoencoderKL(block_out_channels=(32,), down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",))
    return net.eval(), (torch.randn(1, 3, 32, 32),)


@model("diffusion pipeline that gives PIL images", "diffusers")
def images_pipeline():
    from zoo import diffusers_pipeline

    return diffusers_pipeline()[0], (), {"num_inference_steps": 2, "output_type": "pil"}


@model("segmentation by prompts, the original library", "segment_anything")
def segment_anything():
    from segment_anything.modeling import ImageEncoderViT

    return ImageEncoderViT(img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, out_chans=16), (
        torch.randn(1, 3, 64, 64),
    )


@model("local features", "kornia")
def kornia_features():
    from kornia.feature import HardNet

    return HardNet(pretrained=False).eval(), (torch.randn(4, 1, 32, 32),)


@model("image likeness", "pytorch_msssim")
def structural_likeness():
    from pytorch_msssim import SSIM

    return SSIM(data_range=1.0, channel=3), (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))


# Quantized


@model("int8 weights", reason="torchao has extension modules")
def torchao_int8():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 8)).eval()
    quantize_(net, Int8WeightOnlyConfig())
    return net, (torch.randn(2, 64),)


# Parts and processes


@model("vector quantization", "vector-quantize-pytorch", "einops")
def vector_quantize():
    from vector_quantize_pytorch import ResidualVQ

    return ResidualVQ(dim=16, num_quantizers=2, codebook_size=32).eval(), (torch.randn(1, 8, 16),)


@model("perceiver", "perceiver-pytorch", "einops")
def perceiver():
    from perceiver_pytorch import Perceiver

    net = Perceiver(
        num_freq_bands=2, depth=1, max_freq=4.0, input_channels=3, num_latents=8, latent_dim=16, num_classes=4, latent_heads=2
    )
    return net.eval(), (torch.randn(1, 16, 16, 3),)


@model("attention of linear cost", "linformer")
def linformer():
    from linformer import Linformer

    return Linformer(dim=16, seq_len=32, depth=1, heads=2, k=8).eval(), (torch.randn(1, 32, 16),)


@model("normalizing flow", "zuko")
def normalizing_flow():
    return Density(), (torch.randn(4, 3), torch.randn(4, 2))


class Density(torch.nn.Module):
    """The logarithm of a density that depends on a context."""

    def __init__(self):
        super().__init__()
        from zuko.flows import NSF

        self.flow = NSF(features=3, context=2, transforms=2, hidden_features=(16,))

    def forward(self, x, context):
        return self.flow(context).log_prob(x)


@model("stochastic differential equation", "torchsde")
def stochastic_differential_equation():
    import torchsde  # noqa: F401

    return Process(), (torch.zeros(3, 2), torch.linspace(0, 1, 5))


class Process(torch.nn.Module):
    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self):
        super().__init__()
        self.drift = torch.nn.Linear(2, 2)

    def f(self, t, y):
        return self.drift(y)

    def g(self, t, y):
        return 0.1 * torch.ones_like(y)

    def forward(self, y, t):
        from torchsde import BrownianInterval, sdeint

        return sdeint(
            self, y, t, bm=BrownianInterval(0.0, 1.0, tuple(y.shape), entropy=1, levy_area_approximation="space-time"), dt=0.1
        )


@model("equivariant network", "e3nn")
def equivariant():
    from e3nn.o3 import FullyConnectedTensorProduct

    net = FullyConnectedTensorProduct("2x0e + 1x1o", "1x0e + 1x1o", "2x0e + 1x1o")
    return net.eval(), (torch.randn(3, 5), torch.randn(3, 4))


@model("Lightning module", "pytorch-lightning", "lightning-utilities", "torchmetrics")
def lightning_module():
    from zoo_lightning import Regression

    return Regression().eval(), (torch.randn(2, 4),)


@model("graph network with pooling", "torch-geometric")
def graph_pooling():
    return Pooled().eval(), (torch.randn(4, 8), torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 0]]))


class Pooled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        from torch_geometric.nn import GraphSAGE, global_mean_pool

        self.convolutions = GraphSAGE(8, 16, num_layers=2)
        self.pool = global_mean_pool

    def forward(self, x, edges):
        return self.pool(self.convolutions(x, edges), torch.zeros(len(x), dtype=torch.long))


# Tables


@model("scikit-learn pipeline that gives a table", reason="scikit-learn and pandas have extension modules")
def table_pipeline():
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pandas.DataFrame({"size": [1.0, 2.5, None], "colour": ["red", "blue", "red"]})
    made = make_column_transformer(
        (StandardScaler(), ["size"]), (OneHotEncoder(sparse_output=False), ["colour"]), verbose_feature_names_out=False
    )
    return made.set_output(transform="pandas").fit(table), (table,), {}, "transform"


@model("words in a sparse matrix", reason="scikit-learn has extension modules")
def sparse_features():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["the cat sat on the mat", "a dog ran"]
    return TfidfVectorizer().fit(texts), (texts,), {}, "transform"
