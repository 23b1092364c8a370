"""Small networks of KerasHub, of random weights: backbones, classifiers and what they take."""

import numpy as np


def _image(side=32):
    return {"image_shape": (side, side, 3)}


def _resnet(hub, **changes):
    return hub.models.ResNetBackbone(**{
        "input_conv_filters": [64], "input_conv_kernel_sizes": [3],
        "stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [1, 2, 1, 1],
        "stackwise_num_strides": [1, 2, 2, 2], "block_type": "basic_block", **_image(), **changes,
    })  # fmt: skip


def _mit(hub):
    return hub.models.MiTBackbone(
        layerwise_depths=[1, 2], num_layers=2, layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1], max_drop_path_rate=0.1, layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2], hidden_dims=[8, 16], **_image(),
    )  # fmt: skip


def _cspnet(hub):
    return hub.models.CSPNetBackbone(
        stem_filters=8, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 2],
        stackwise_strides=[1, 2], stackwise_num_filters=[8, 16],
        block_type="dark_block", stage_type="dark", **_image(),
    )  # fmt: skip


def _mobilenet(hub):
    return hub.models.MobileNetBackbone(
        stackwise_expansion=[[16, 24], [24, 24]], stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [16, 16]], stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]], stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        output_num_filters=32, input_activation="hard_swish", output_activation="hard_swish",
        stackwise_padding=[[1, 1], [2, 2]], input_num_filters=8, depthwise_filters=8,
        depthwise_stride=1, squeeze_and_excite=0.5, last_layer_filter=32,
        depthwise_residual=False, **_image(),
    )  # fmt: skip


def _mobilenet_v5(hub):
    return hub.models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]], stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]], stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[4.0], [6.0, 6.0]], stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [5, 5]], stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]], stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]], stackwise_num_heads=[[0], [0, 0]],
        stackwise_key_dims=[[0], [0, 0]], stackwise_value_dims=[[0], [0, 0]],
        stackwise_kv_strides=[[0], [0, 0]], stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False, **_image(),
    )  # fmt: skip


def _efficientnet(hub):
    return hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3], stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[8, 16], stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4], stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2], stackwise_block_types=["v1", "v1"],
        stackwise_width_coefficients=[1.0, 1.0], stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_force_input_filters=[0, 0], stackwise_nores_option=[False, False],
        input_shape=(32, 32, 3), num_features=32,
    )  # fmt: skip


def _hgnet(hub):
    return hub.models.HGNetV2Backbone(
        depths=[1, 2], embedding_size=8, hidden_sizes=[16, 24], stem_channels=[3, 8, 8],
        hidden_act="relu", use_learnable_affine_block=True,
        stackwise_stage_filters=[(8, 8, 16, 1, 2, 3), (16, 8, 24, 2, 2, 3)],
        apply_downsample=[False, True], use_lightweight_conv_block=[False, True], **_image(),
    )  # fmt: skip


def _clip(hub, kind="CLIPVisionEncoder"):
    return getattr(hub.models, kind)(
        patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32, **_image()
    )


def _transformer(kind, **changes):
    config = {"vocabulary_size": 30, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
    config |= {"intermediate_dim": 32, "max_sequence_length": 8}

    def make(hub):
        return getattr(hub.models, kind)(**config | changes)

    return make


# Name -> function from the package to the network.
BACKBONES = {
    "VGG": lambda hub: hub.models.VGGBackbone(
        stackwise_num_repeats=[1, 2], stackwise_num_filters=[8, 16], **_image()
    ),
    "ResNet": _resnet,
    "ResNetV2": lambda hub: _resnet(hub, use_pre_activation=True, block_type="bottleneck_block"),
    "DenseNet": lambda hub: hub.models.DenseNetBackbone(
        stackwise_num_repeats=[2, 2], growth_rate=8, **_image()
    ),
    "MobileNet": _mobilenet,
    "MobileNetV5": _mobilenet_v5,
    "EfficientNet": _efficientnet,
    "CSPNet": _cspnet,
    "Xception": lambda hub: hub.models.XceptionBackbone(
        stackwise_conv_filters=[[8, 8], [16, 16], [24, 24]],
        stackwise_pooling=[True, True, False], **_image(64),
    ),
    "HGNetV2": _hgnet,
    "ViT": lambda hub: hub.models.ViTBackbone(
        patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, **_image()
    ),
    "DeiT": lambda hub: hub.models.DeiTBackbone(
        patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, **_image()
    ),
    "MiT": _mit,
    "Swin": lambda hub: hub.models.SwinTransformerBackbone(
        embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4, patch_size=4, **_image()
    ),
    "ViTDet": lambda hub: hub.models.ViTDetBackbone(
        hidden_size=16, num_layers=2, intermediate_dim=32, num_heads=2, patch_size=8,
        global_attention_layer_indices=[1], num_output_channels=8, window_size=2, **_image(),
    ),
    "DINOv2": lambda hub: hub.models.DINOV2Backbone(
        patch_size=8, num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32,
        position_embedding_shape=(32, 32, 3), use_mask_token=False, **_image(),
    ),
    "DINOv3": lambda hub: hub.models.DINOV3Backbone(
        patch_size=8, num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32,
        use_mask_token=False, **_image(),
    ),
    "CLIP vision": _clip,
    "SigLIP vision": lambda hub: _clip(hub, "SigLIPVisionEncoder"),
    "MetaCLIP2 vision": lambda hub: _clip(hub, "MetaCLIP2VisionEncoder"),
    "RetinaNet": lambda hub: hub.models.RetinaNetBackbone(
        image_encoder=_resnet(hub, image_shape=(None, None, 3)), min_level=3, max_level=5,
        use_p5=False, **_image(64),
    ),
    "DeepLabV3": lambda hub: hub.models.DeepLabV3Backbone(
        image_encoder=_resnet(hub, image_shape=(None, None, 3)), low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4", dilation_rates=[6, 12], upsampling_size=4,
        **_image(64),
    ),
    "SegFormer": lambda hub: hub.models.SegFormerBackbone(
        image_encoder=_mit(hub), projection_filters=16
    ),
    "Bert": _transformer("BertBackbone"),
    "GPT2": _transformer("GPT2Backbone"),
}  # fmt: skip

CLASSIFIERS = {
    "VGG": "VGGImageClassifier",
    "ResNet": "ResNetImageClassifier",
    "DenseNet": "DenseNetImageClassifier",
    "MobileNet": "MobileNetImageClassifier",
    "EfficientNet": "EfficientNetImageClassifier",
    "CSPNet": "CSPNetImageClassifier",
    "Xception": "XceptionImageClassifier",
    "HGNetV2": "HGNetV2ImageClassifier",
    "ViT": "ViTImageClassifier",
    "DeiT": "DeiTImageClassifier",
    "MiT": "MiTImageClassifier",
    "Swin": "SwinTransformerImageClassifier",
}


def classifier(hub, name):
    """Builds the image classifier of a backbone, with three classes."""
    kind = getattr(hub.models, CLASSIFIERS[name])
    return kind(backbone=BACKBONES[name](hub), preprocessor=None, num_classes=3)


def data(model, count=2):
    """Makes inputs for a network: pixels, tokens, masks."""
    rng = np.random.default_rng(0)

    def values(tensor):
        shape = [count, *(8 if side is None else side for side in tensor.shape[1:])]
        if str(tensor.dtype).startswith("int"):
            # Tokens; of a padding mask or segments, ones and zeros.
            return rng.integers(0, 30 if "token" in tensor.name else 2, shape).astype("int32")
        return rng.uniform(0, 1, shape).astype("float32")

    if isinstance(model.input, dict):
        return {key: values(tensor) for key, tensor in model.input.items()}
    return values(model.inputs[0])
