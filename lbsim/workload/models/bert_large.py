"""BERT-Large on 128 tokens, the length of nine tenths of the pre-training (Devlin et al., appendix A.2)."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._bert import LARGE, bert

__all__ = ["build"]


def build() -> Workload:
    """Return BERT-Large with its pre-training heads on 128 tokens: 336,226,108 parameters in 398 tensors, 40.11 GMAC.

    Encoder, embeddings and pooler have 335,141,888. The masked-word head sees 20 positions, as in Google's and
    NVIDIA's code (``max_predictions_per_seq``); on every position it would do 9 % more work in total.
    """
    return bert("bert_large", LARGE, tokens=128, predictions=20)
