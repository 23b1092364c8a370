"""Times the training of a network in PyTorch, for `benchmark_training.py`, which starts it.

Its argument is JSON: the table of the network, and how many pictures and steps. It prints the
seconds of a step, after as many that warm up.
"""

import json
import sys
import time

import torch
from torch import nn


def build(units: list[dict], classes: int, side: int) -> nn.Sequential:
    """Builds the network from the rows of its table."""
    layers, channels = [], 3
    for unit in units:
        if unit["kind"] == "Conv":
            padding = unit["kernel"] // 2 if unit["padding"] == "same" else 0
            layers.append(
                nn.Conv2d(channels, unit["filters"], unit["kernel"], unit["stride"], padding,
                          groups=unit["groups"])
            )  # fmt: skip
            layers.append(nn.ReLU())
            layers += [nn.MaxPool2d(3, 2)] if unit["pool"] else []
            layers += [nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)] if unit["norm"] else []
            channels = unit["filters"]
        else:
            if not any(isinstance(layer, nn.Flatten) for layer in layers):
                layers.append(nn.Flatten())
                channels = nn.Sequential(*layers)(torch.zeros(1, 3, side, side)).shape[1]
            layers.append(nn.Linear(channels, unit["units"] or classes))
            if unit["units"]:
                layers += [nn.ReLU(), nn.Dropout(unit["dropout"])]
                channels = unit["units"]
    return nn.Sequential(*layers)


def main() -> None:
    """Trains on one batch that is in memory, on the GPU where there is one."""
    facts = json.loads(sys.argv[1])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, batch, steps = facts["image_size"], facts["batch"], facts["steps"]
    model = build(facts["units"], facts["classes"], side)
    model = model.to(device, memory_format=torch.channels_last)
    images = torch.rand(batch, 3, side, side, device=device) * 255 - 128
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, facts["classes"], (batch,), device=device)
    adam = not any(unit.get("norm") for unit in facts["units"])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3) if adam else torch.optim.SGD(
        model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4
    )  # fmt: skip
    loss, at = nn.CrossEntropyLoss(), []
    for step in range(2 * steps):
        optimizer.zero_grad()
        value = loss(model(images), labels)
        value.backward()
        optimizer.step()
        if step % steps == steps - 1:
            value.item()
            at.append(time.perf_counter())
    print(json.dumps((at[1] - at[0]) / steps))


if __name__ == "__main__":
    main()
