"""BERT with both heads of its pre-training.

J. Devlin, M.-W. Chang, K. Lee, K. Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers," NAACL 2019,
section 3; layers and names as in Hugging Face's ``BertForPreTraining``. The decoder of the masked-word head is tied to
the word embedding, whose gradient is therefore complete last.
"""

from dataclasses import dataclass

from lbsim.workload.builder import Stack
from lbsim.workload.layers import Workload

_WORDS, _POSITIONS, _TYPES = 30522, 512, 2
"""Rows of the embedding tables: uncased English vocabulary (NVIDIA's code pads it to 30528), positions, types."""

SEQUENCES = 6_400_000
"""Sequences per epoch: 1,000,000 steps of 256 sequences are about 40 epochs (appendix A.2). No validation set."""


@dataclass(frozen=True)
class Size:
    """Dimensions of a BERT model (section 3)."""

    layers: int
    hidden: int
    heads: int


BASE = Size(layers=12, hidden=768, heads=12)
LARGE = Size(layers=24, hidden=1024, heads=16)


def bert(name: str, size: Size, *, tokens: int, predictions: int) -> Workload:
    """Return BERT on sequences of *tokens*, of which the masked-word head sees *predictions*.

    A sample is copied as three int32 per token: word, mask and type.
    """
    stack = Stack((tokens,))
    _embed(stack, size.hidden, tokens)
    for index in range(size.layers):
        _attend(stack, f"layer{index}.attention", size.heads)
        _feed_forward(stack, f"layer{index}")
    pooled = stack.fork()
    pooled.select("pooler.select", 1)
    pooled.linear("pooler", size.hidden)
    pooled.activation("pooler.tanh")
    _predict_words(stack.fork(), predictions)
    pooled.linear("heads.next_sentence", 2)
    return stack.build(
        name,
        source="Devlin et al., arXiv:1810.04805, section 3 and appendix A.2",
        input_bytes=3.0 * 4 * tokens,
        samples=SEQUENCES,
        validation_samples=0,
    )


def _embed(stack: Stack, hidden: int, tokens: int) -> None:
    for name, rows in (("word", _WORDS), ("position", _POSITIONS), ("type", _TYPES)):
        stack.embedding(f"embeddings.{name}", rows, hidden, tokens)
        if name != "word":
            stack.add(f"embeddings.{name}.add")
    stack.layer_norm("embeddings.norm")
    stack.dropout("embeddings.dropout")


def _attend(stack: Stack, name: str, heads: int) -> None:
    """Add multi-head self-attention; its two products multiply tokens x tokens x hidden, for any number of heads."""
    tokens, hidden = stack.shape
    for role in ("query", "key", "value"):
        stack.fork().linear(f"{name}.{role}", hidden)
    flops = 2.0 * tokens * tokens * hidden
    vectors, scores = tokens * hidden, heads * tokens * tokens
    stack.product(f"{name}.scores", flops, 2 * vectors + scores, saved=2 * vectors, shape=(heads * tokens, tokens))
    stack.add(f"{name}.mask")
    stack.softmax(f"{name}.softmax", scores)
    stack.dropout(f"{name}.probabilities.dropout")
    stack.product(f"{name}.context", flops, 2 * vectors + scores, saved=vectors + scores, shape=(tokens, hidden))
    _project(stack, f"{name}.output", hidden)


def _feed_forward(stack: Stack, name: str) -> None:
    hidden = stack.shape[-1]
    stack.linear(f"{name}.intermediate", 4 * hidden)
    stack.activation(f"{name}.gelu")
    _project(stack, f"{name}.output", hidden)


def _project(stack: Stack, name: str, hidden: int) -> None:
    """Add the end of each half of a layer: linear, dropout, sum with the shortcut, layer norm."""
    stack.linear(name, hidden)
    stack.dropout(f"{name}.dropout")
    stack.add(f"{name}.add")
    stack.layer_norm(f"{name}.norm")


def _predict_words(stack: Stack, predictions: int) -> None:
    tokens, hidden = stack.shape
    if predictions < tokens:
        stack.select("heads.words.select", predictions)
    stack.linear("heads.words.transform", hidden)
    stack.activation("heads.words.gelu")
    stack.layer_norm("heads.words.norm")
    stack.linear("heads.words.decoder", _WORDS, tied=True)
    stack.softmax("heads.words.softmax", float(predictions * _WORDS))
