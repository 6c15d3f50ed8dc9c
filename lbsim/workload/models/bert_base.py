"""BERT-Base on 128 tokens, the length of nine tenths of the pre-training (Devlin et al., appendix A.2)."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._bert import BASE, bert

__all__ = ["build"]


def build() -> Workload:
    """Return BERT-Base with its pre-training heads on 128 tokens: 110,106,428 parameters in 206 tensors, 11.65 GMAC.

    Encoder, embeddings and pooler have 109,482,240. The masked-word head sees 20 positions, as in Google's and
    NVIDIA's code (``max_predictions_per_seq``); on every position it would do 22 % more work in total.
    """
    return bert("bert_base", BASE, tokens=128, predictions=20)
