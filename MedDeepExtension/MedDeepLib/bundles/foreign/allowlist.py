"""The names that a bundle may use without being trusted: network components, image transforms and pure functions.

Everything that is not listed needs the user's trust: code that runs commands, imports by a name in a string, reads
pickles, fetches from the network or writes files. This file checks names only and imports neither torch nor MONAI, so
that a panel can judge a bundle before anything of it is loaded; :mod:`~MedDeepLib.bundles.foreign.components` judges
the objects.
"""

from __future__ import annotations

import builtins
import math


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Classes that are defined in these modules may be instantiated; of their functions only those below ...
COMPONENT_MODULES = (
    "monai.apps.detection.networks",
    "monai.apps.detection.transforms",
    "monai.apps.detection.utils",
    "monai.inferers.inferer",
    "monai.inferers.splitter",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.networks.nets",
    "monai.transforms",
    "torch.nn.modules",
    "MedDeepLib.bundles.foreign.given_image",
)
# Named in the configurations of our own models. These modules open files and models by their paths, so a bundle from
# elsewhere may not name them.
_OWN_MODULES = (
    "MedDeepLib.bundles.exported",
    "SegmentModuleLib.exported",
    "RegisterModuleLib.exported",
    "DetectModuleLib.exported",
    "ClassifyModuleLib.exported",
)
# ... except for these: they compile code, write or load files, fetch from the network, wait, or look classes up by a
# name in a string.
_DENIED_MODULES = (
    "monai.networks.blocks.hyena",
    "monai.networks.blocks.text_embedding",
    "monai.networks.layers.gmm",
    "monai.networks.nets.cell_sam_wrapper",
    "monai.networks.nets.torchvision_fc",
    "monai.networks.nets.transchex",
    "monai.transforms.nvtx",
    "monai.transforms.utils_create_transform_ims",
)
_DENIED_NAMES = (
    "CuCIM",
    "FlexUNetEncoderRegister",
    "LoadImage",  # GivenImaged takes its place
    "PatchInferer",
    "RandCuCIM",
    "RandTorchIO",
    "RandTorchVision",
    "SaveClassification",
    "SaveImage",
    "SimulateDelay",
    "TorchIO",
    "TorchVision",
    "WSISlidingWindowSplitter",
    "WriteFileMapping",
    "get_pretrained_resnet_medicalnet",
)
_SHORT_MODULES = ("torch.nn", "monai.inferers")  # re-export some of these under shorter names
# Functions that make networks or layers, or compute on arrays. Others register hooks for every network of the process,
# or call their arguments.
MONAI_FUNCTIONS = _names(
    """
    create_mednext get_act_layer get_conv_block get_conv_layer get_deconv_block get_dropout_layer get_norm_layer
    get_pool_layer get_upsample_layer resnet10 resnet18 resnet34 resnet50 resnet101 resnet152 resnet200
    resnet_fpn_feature_extractor vista3d132

    apply_affine_to_boxes convert_box_to_mask convert_mask_to_box flip_boxes resize_boxes rot90_boxes select_labels
    swapaxes_boxes zoom_boxes

    allclose argsort argwhere ascontiguousarray calculate_out_shape clip concatenate convert_to_contiguous cumsum
    dilate distance_transform_edt equalize_hist erode fill_holes floor_divide gaussian_1d generate_spatial_bounding_box
    get_largest_connected_component_mask get_unique_labels is_empty is_positive isfinite isnan max maximum mean median
    min mode moveaxis nonzero percentile remove_small_objects repeat rescale_array rescale_array_int_max
    rescale_instance_array same_padding soft_clip softplus stack std sum unique where zero_margins
    """
)
# MONAI gives some classes a second name that looks like a function, and some functions one that looks like a class.
_CLASSES_IN_SMALL_LETTERS = _names(
    """
    basicunet basicunetplusplus densenet121 densenet169 densenet201 densenet264 senet154 seresnet101 seresnet152
    seresnet50 seresnext101 seresnext50 voxelmorph voxelmorphunet
    """
)
_MODULES_OF_UNNAMED_FUNCTIONS = frozenset(["monai.networks.nets.mednext"])

TORCH_FUNCTIONS = _names(
    """
    abs all amax amin any arange argmax argmin argsort as_tensor atleast_1d atleast_2d atleast_3d bitwise_and
    bitwise_not bitwise_or bitwise_xor cat ceil clamp clip concat cos count_nonzero cumsum device eq exp eye
    flatten flip floor full full_like ge gt is_tensor isfinite isin isnan le linspace log logical_and logical_not
    logical_or logical_xor logit lt max maximum mean median min minimum moveaxis movedim mul ne nonzero norm ones
    ones_like permute pow prod relu reshape roll round sigmoid sin size softmax sort split sqrt squeeze stack std
    sub sum tan tanh tensor tensor_split tile transpose tril triu unbind unique unsqueeze var where zeros
    zeros_like from_numpy load
    """
)
NUMPY_FUNCTIONS = _names(
    """
    abs all allclose any arange argmax argmin array asarray ceil clip concatenate cos cumsum diag dtype exp
    expand_dims eye flip floor full hstack inf isfinite isin isnan linspace log logical_and logical_not logical_or
    max maximum mean median min minimum moveaxis nan newaxis ones ones_like pi prod reshape round sin sqrt squeeze
    stack std sum tan tanh tile transpose unique vstack where zeros zeros_like
    """
)
DTYPES = _names(
    """
    bool bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 long int short half float float16 float32 float64
    double bfloat16 floating integer
    """
)
TORCH_PARTS = {
    "cuda": frozenset({"is_available", "device_count"}),
}
FUNCTIONAL = _names(
    """
    avg_pool2d avg_pool3d conv2d conv3d interpolate log_softmax max_pool2d max_pool3d normalize one_hot pad relu
    sigmoid softmax tanh
    """
)
MATH_FUNCTIONS = frozenset(
    ["ceil", "exp", "floor", "inf", "isclose", "isfinite", "isnan", "log", "log10", "log2", "nan", "pi", "prod", "sqrt"]
)
OS_PATH_FUNCTIONS = frozenset(["basename", "dirname", "exists", "isfile", "isdir", "join", "split", "splitext"])
# Attributes of values: none of them writes, loads or leads to code.
TENSOR_METHODS = _names(
    """
    abs all amax amin any argmax argmin argsort astype bool byte clamp clip clone contiguous copy cpu cuda cumsum
    detach device dim double dtype eq expand flatten flip float ge gt half int isnan item le logical_and
    logical_not logical_or long lt max mean median min moveaxis movedim ndim ne nonzero numel numpy permute prod
    reshape round shape sigmoid size softmax sort split squeeze std sum T t tanh to tolist transpose unbind unique
    unsqueeze view where
    """
)
MODULE_METHODS = frozenset(["to", "eval", "cpu", "cuda", "float", "half", "double"])
TEXT_METHODS = _names(
    """
    capitalize count endswith find isdigit join lower lstrip partition removeprefix removesuffix replace
    rpartition rsplit rstrip split startswith strip title upper
    """
)
CONTAINER_METHODS = frozenset(["copy", "count", "get", "index", "items", "keys", "values"])
COMPONENT_ATTRIBUTES = _names(
    """
    transforms set_target_keys set_box_selector_parameters set_sliding_window_inferer set_balanced_sampler
    set_atss_matcher set_hard_negative_sampler set_regular_matcher roi_size sw_batch_size overlap
    """
)
DEVICE_ATTRIBUTES = frozenset(["type", "index"])
METHODS = DEVICE_ATTRIBUTES | TENSOR_METHODS | MODULE_METHODS | TEXT_METHODS | CONTAINER_METHODS | COMPONENT_ATTRIBUTES
FUNCTIONS = _names(
    """
    abs all any bool dict enumerate float int len list max min range reversed round set slice sorted str sum tuple
    zip
    """
)

# No legitimate bundle has these, not even in the parts that are never run here.
_HOSTILE_NAMES = _names(
    """
    __import__ breakpoint builtins compile ctypes eval exec globals importlib input locals marshal pickle pty runpy
    shelve socket subprocess vars
    """
)


def is_component(path: str) -> bool:
    """Whether ``path`` (``LoadImaged`` or ``monai.transforms.LoadImaged``) may be a component, as far as names tell.

    A short name is looked up in MONAI; that would find Python's functions as well, but they are not components.
    """
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in path.split(".")) or is_denied_name(name):
        return False
    if path == "torch.device":
        return True
    if not module:
        return not hasattr(builtins, name) and is_known_name(name)
    if _below(module, ("torch",)) and not name[0].isupper():
        return False
    return (module in _SHORT_MODULES or is_component_module(module)) and is_known_name(name)


def is_known_name(name: str) -> bool:
    """Whether a name belongs to a class or to a function that only computes, as far as names tell."""
    return name[0].isupper() or name in MONAI_FUNCTIONS or name in _CLASSES_IN_SMALL_LETTERS


def is_own(path: str) -> bool:
    """Whether the configurations of our own models, and only those, may name ``path``."""
    return path.rpartition(".")[0] in _OWN_MODULES


def is_function(module: str, name: str) -> bool:
    """Whether the function that is defined in ``module`` as ``name`` may be called."""
    if not is_component_module(module) or _below(module, ("torch",)):
        return False
    return name in MONAI_FUNCTIONS or (name == "<lambda>" and module in _MODULES_OF_UNNAMED_FUNCTIONS)


def is_component_module(module: str) -> bool:
    """Whether classes that are defined in ``module`` may be components."""
    return _below(module, COMPONENT_MODULES) and not _below(module, _DENIED_MODULES)


def leads_to_components(module: str) -> bool:
    """Whether ``module`` is a package that contains such modules, such as ``monai.networks``."""
    return any(f"{known}.".startswith(f"{module}.") for known in COMPONENT_MODULES)


def is_denied_name(name: str) -> bool:
    """Whether a class of this name, or its dictionary version, is denied in whichever module it is defined."""
    return any(name in (denied, f"{denied}d", f"{denied}D", f"{denied}Dict") for denied in _DENIED_NAMES)


def is_allowed_chain(parts: list[str]) -> bool:
    """Whether a chain such as ``torch.cuda.is_available`` or ``monai.networks.nets.UNet`` may be used."""
    root, rest = parts[0], parts[1:]
    if any(part.startswith("_") for part in parts):
        return False
    if not rest:
        return False  # a module alone cannot be used
    if root == "torch":
        return _allowed_in_torch(rest)
    if root in ("np", "numpy"):
        return rest[0] in NUMPY_FUNCTIONS | DTYPES
    if root == "math":
        return len(rest) == 1 and rest[0] in MATH_FUNCTIONS and hasattr(math, rest[0])
    if root == "os":
        return len(rest) == 2 and rest[0] == "path" and rest[1] in OS_PATH_FUNCTIONS
    if root == "monai":
        path = ".".join(parts)
        return leads_to_components(path) or is_component(path)
    return False


def hostile_name(names: set[str], attributes: set[str]) -> str:
    """The first name that no legitimate configuration uses; empty when there is none."""
    bad = names & _HOSTILE_NAMES | attributes & {"popen", "system"}
    bad |= {name for name in names | attributes if name.startswith("__") and name != "__local_refs"}
    return min(bad, default="")


def _allowed_in_torch(rest: list[str]) -> bool:
    if rest[0] in TORCH_FUNCTIONS | DTYPES:
        return True
    if rest[:2] == ["nn", "functional"]:
        return len(rest) == 3 and rest[2] in FUNCTIONAL
    if rest[0] == "nn":
        return len(rest) == 2 and is_component(f"torch.nn.{rest[1]}")
    return rest[0] in TORCH_PARTS and (len(rest) == 1 or rest[1] in TORCH_PARTS[rest[0]])


def _below(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
