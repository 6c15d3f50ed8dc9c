"""BERT-Large on 64 tokens, as in Shi et al.'s communication benchmark (HKBU-HPML/ddl-benchmarks)."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._bert import LARGE, bert

__all__ = ["build"]


def build() -> Workload:
    """Return BERT-Large with its pre-training heads on 64 tokens: 336,226,108 parameters in 398 tensors, 21.60 GMAC.

    The benchmark predicts a word at every position, masked or not, so the masked-word head sees all 64.
    """
    return bert("bert_large_64", LARGE, tokens=64, predictions=64)
