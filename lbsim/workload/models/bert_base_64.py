"""BERT-Base on 64 tokens, as in Shi et al.'s communication benchmark (HKBU-HPML/ddl-benchmarks)."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._bert import BASE, bert

__all__ = ["build"]


def build() -> Workload:
    """Return BERT-Base with its pre-training heads on 64 tokens: 110,106,428 parameters in 206 tensors, 7.05 GMAC.

    The benchmark predicts a word at every position, masked or not, so the masked-word head sees all 64.
    """
    return bert("bert_base_64", BASE, tokens=64, predictions=64)
