"""Defaults of settings that depend on the network."""

# How each network is trained unless a flag says otherwise. For `alexnet` as Yosinski et al.
# (2014) did; for `alexnet_small` what converges in about a minute on two cores.
NETWORKS = {
    "alexnet": {
        "steps": 450_000,
        "batch_size": 256,
        "learning_rate": 0.01,
        "optimizer": "sgd",
        "schedule": "step",
        "weight_decay": 5e-4,
        "preprocessing": "paper",
    },
    "alexnet_small": {
        "steps": 2200,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "schedule": "cosine",
        "weight_decay": 0.0,
        "preprocessing": "modern",
    },
}

# How a network is trained that takes from a donor of the person's own.
DONORS = {
    "steps": 1000,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "transferred_learning_rate": 1e-4,
    "optimizer": "adam",
    "schedule": "cosine",
    "weight_decay": 0.0,
    "preprocessing": "modern",
}
