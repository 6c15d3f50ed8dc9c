"""BERT-Large on 512 tokens, as MLPerf Training has it (mlcommons/training, language_model/tensorflow/bert)."""

from lbsim.workload.layers import Workload
from lbsim.workload.models._bert import LARGE, bert

__all__ = ["build"]


def build() -> Workload:
    """Return BERT-Large with its pre-training heads on 512 tokens: 336,226,108 parameters in 398 tensors, 169.96 GMAC.

    The masked-word head sees 76 positions (``max_predictions_per_seq``). Sequences count as padded to 512 tokens;
    submissions that remove the padding compute about half as much.
    """
    return bert("bert_large_512", LARGE, tokens=512, predictions=76)
