"""Defaults of settings that depend on the network."""

# How each network is trained unless a flag says otherwise. For `alexnet` as Yosinski et al.
# (2014) did; for `alexnet_small` what converges in about a minute on two cores. `warm_up_share`:
# the part of the steps in which the learning rate rises from 0; none where it is not given.
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
    # Half of these steps again gain less than a point of top-1 on `formula_images`.
    "alexnet_mini": {
        "steps": 1400,
        "batch_size": 64,
        "learning_rate": 5e-3,
        "optimizer": "adamw",
        "schedule": "cosine",
        "weight_decay": 1.0,
        "warm_up_share": 0.06,
        "preprocessing": "modern",
    },
    # He et al. (2016), with a cosine and a warm-up in place of their drops, as Loshchilov and
    # Hutter (2017) and Goyal et al. (2017) have them: 90 epochs of ImageNet, 180 of a half of it.
    "resnet18": {
        "steps": 450_000,
        "batch_size": 256,
        "learning_rate": 0.1,
        "optimizer": "sgd",
        "schedule": "cosine",
        "weight_decay": 1e-4,
        "warm_up_share": 0.05,
        "preprocessing": "modern",
    },
    "resnet18_small": {
        "steps": 3000,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "optimizer": "adamw",
        "schedule": "cosine",
        "weight_decay": 0.05,
        "warm_up_share": 0.05,
        "preprocessing": "modern",
    },
    # Touvron et al. (2021), "Training data-efficient image transformers", as far as it goes
    # without their augmentation: 1e-3 for a batch of 1024, in proportion to the batch.
    "vit_small": {
        "steps": 375_000,
        "batch_size": 512,
        "learning_rate": 5e-4,
        "optimizer": "adamw",
        "schedule": "cosine",
        "weight_decay": 0.05,
        "warm_up_share": 0.02,
        "preprocessing": "modern",
    },
    "vit_mini": {
        "steps": 3000,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "optimizer": "adamw",
        "schedule": "cosine",
        "weight_decay": 0.05,
        "warm_up_share": 0.1,
        "preprocessing": "modern",
    },
}

# How an architecture is trained that Keras or KerasHub has and no table here.
GIVEN_NETWORKS = {
    "steps": 3000,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "optimizer": "adamw",
    "schedule": "cosine",
    "weight_decay": 0.05,
    "warm_up_share": 0.05,
    "preprocessing": "modern",
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
