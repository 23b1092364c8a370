"""Times PyTorch on a network of timm, for `benchmark_pretrained.py --torch_python`.

PYTHON tools/torch_contender.py ARRAYS.npz NETWORK CASE EPOCHS STEPS BATCH RATE

ARRAYS has `images`, `labels`, `test_images`, `test_labels`; images uint8 (pictures, side, side, 3).
NETWORK is a name of timm, with random weights, which change no time. It prints {"seconds": …} as
JSON. Needs torch and timm, and nothing of this project. The recipe is that of PyTorch's tutorial of
transfer learning: the same network each epoch, what is frozen without gradients; on a CPU tensors
lie channels last, which is the faster way there.
"""

import json
import statistics
import sys
import time

import numpy as np
import timm
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Measures one case, and prints it."""
    path, network, case, *numbers = sys.argv[1:]
    epochs, steps, batch = map(int, numbers[:3])
    with np.load(path) as arrays:
        train = [to_tensor(arrays["images"]), torch.tensor(arrays["labels"]).long()]
        test = [to_tensor(arrays["test_images"]), torch.tensor(arrays["test_labels"]).long()]
    classes = int(train[1].max()) + 1
    model = timm.create_model(network, pretrained=False, num_classes=classes)
    model = model.to(DEVICE, memory_format=torch.channels_last)
    if case == "head":
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, float(numbers[3]))

    def step(images, labels) -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(on_device(images)), labels.to(DEVICE))
        loss.backward()
        optimizer.step()

    def predict(images) -> None:
        model.eval()
        with torch.no_grad():
            for first in range(0, len(images), batch):
                model(on_device(images[first : first + batch])).cpu()

    def wait() -> float:
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    begun = wait()
    if case == "pass":
        predict(train[0])
        predict(test[0])
        seconds = wait() - begun
    elif case == "step":
        model.train()
        ends = []
        for _ in range(2 + steps):
            step(train[0][:batch], train[1][:batch])
            ends.append(wait())
        seconds = statistics.median(np.diff(ends)[1:].tolist())
    else:
        for _ in range(epochs):
            model.train()
            order = torch.randperm(len(train[1]))
            for first in range(0, len(order) - batch + 1, batch):
                rows = order[first : first + batch]
                step(train[0][rows], train[1][rows])
            predict(test[0])
        seconds = wait() - begun
    print(json.dumps({"seconds": seconds}))


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Gives uint8 (pictures, 3, side, side)."""
    return torch.tensor(images).permute(0, 3, 1, 2)


def on_device(images: torch.Tensor) -> torch.Tensor:
    """Gives a batch as the network takes it."""
    scaled = images.to(DEVICE).float() / 127.5 - 1
    return scaled.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
