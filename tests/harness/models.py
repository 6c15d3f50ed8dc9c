"""Models as they are usually written in torch, for the tracer to trace."""

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    """torchvision's, v1.5."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            project = nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(project, nn.BatchNorm2d(4 * width))

    def forward(self, images):
        out = self.relu(self.bn1(self.conv1(images)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += images if self.downsample is None else self.downsample(images)
        return self.relu(out)


class ResNet50(nn.Module):
    """torchvision's."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = 64
        for stage, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
            made = []
            for block in range(blocks):
                made.append(Bottleneck(inputs, width, 2 if stage > 1 and block == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{stage}", nn.Sequential(*made))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, images):
        out = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            out = self.get_submodule(f"layer{stage}")(out)
        return self.fc(torch.flatten(self.avgpool(out), 1))


class BertLayer(nn.Module):
    """One layer of the encoder, its attention torch's own or spelt out as it was in 2018."""

    def __init__(self, hidden, heads, *, spelt_out):
        super().__init__()
        self.heads, self.spelt_out = heads, spelt_out
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.output = nn.Linear(hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.intermediate = nn.Linear(hidden, 4 * hidden)
        self.down = nn.Linear(4 * hidden, hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(0.1)

    def forward(self, states, mask):
        query, key, value = (
            role(states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for role in (self.query, self.key, self.value)
        )
        context = self.attend(query, key, value, mask).transpose(1, 2).flatten(2)
        states = self.norm1(self.dropout(self.output(context)) + states)
        return self.norm2(self.dropout(self.down(F.gelu(self.intermediate(states)))) + states)

    def attend(self, query, key, value, mask):
        if not self.spelt_out:
            return F.scaled_dot_product_attention(query, key, value, mask, dropout_p=0.1)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask
        return self.dropout(scores.softmax(-1)) @ value


class Bert(nn.Module):
    """BERT-Base with both heads, the decoder tied to the word embedding; the masked-word head sees 20 places."""

    def __init__(self, *, spelt_out: bool = False):
        super().__init__()
        hidden = 768
        self.word, self.position, self.segment = (nn.Embedding(rows, hidden) for rows in (30522, 512, 2))
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList([BertLayer(hidden, 12, spelt_out=spelt_out) for _ in range(12)])
        self.pooler = nn.Linear(hidden, hidden)
        self.transform = nn.Linear(hidden, hidden)
        self.transform_norm = nn.LayerNorm(hidden)
        self.decoder = nn.Linear(hidden, 30522)
        self.decoder.weight = self.word.weight
        self.next_sentence = nn.Linear(hidden, 2)

    def forward(self, words, mask, types, places):
        states = self.word(words) + self.position(torch.arange(words.shape[1])) + self.segment(types)
        states = self.dropout(self.norm(states))
        hidden = (1.0 - mask[:, None, None, :]) * -10000.0
        for layer in self.layers:
            states = layer(states, hidden)
        pooled = torch.tanh(self.pooler(states[:, 0]))
        masked = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
        predicted = self.decoder(self.transform_norm(F.gelu(self.transform(masked))))
        return F.log_softmax(predicted, dim=-1), self.next_sentence(pooled)


def spelt_out_bert():
    return Bert(spelt_out=True)


class Odds(nn.Module):
    """What tracers stumble on: branches on shapes, in-place work, gates, groups, constants, unused weights."""

    shift: torch.Tensor

    def __init__(self):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 2)]  # needs values, which meta tensors lack
        self.depthwise = nn.Conv2d(3, 12, 3, padding=1, groups=3, bias=False)
        self.grouped = nn.Conv2d(12, 64, 3, padding=1, groups=2)
        self.gate = nn.Linear(64, 64)
        self.heads = nn.MultiheadAttention(64, 4, batch_first=True)
        self.scale = nn.Parameter(torch.ones(64))
        self.frozen = nn.Linear(64, 64).requires_grad_(requires_grad=False)
        self.unused = nn.Linear(5, 5)
        self.register_buffer("shift", torch.zeros(64))

    def forward(self, images):
        out = F.relu(self.depthwise(images), inplace=True)
        out = F.dropout(self.grouped(out), self.rates[1], inplace=True)
        if out.shape[1] == 64:
            out = out * torch.sigmoid(self.gate(out.mean((2, 3))))[:, :, None, None]
        tokens = out.flatten(2).transpose(1, 2) * self.scale + self.shift
        tokens, _ = self.heads(tokens, tokens, tokens, need_weights=False)
        return self.frozen(tokens)


def needs_values():
    return Choosy()


class Choosy(nn.Module):
    """Does what depends on data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, numbers):
        return self.linear(numbers) if numbers.sum().item() > 0 else numbers


class Recurrent(nn.Module):
    """Uses the same weights at each step."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)

    def forward(self, sequence):
        return self.lstm(sequence)[0]


class Tied(nn.Module):
    """Made of values, and tied: both must outlive the way to the meta device."""

    def __init__(self):
        super().__init__()
        self.width = int(torch.tensor(8).item())
        self.embedding = nn.Embedding(100, self.width)
        self.decoder = nn.Linear(self.width, 100, bias=False)
        self.decoder.weight = self.embedding.weight

    def forward(self, words):
        return self.decoder(self.embedding(words))
