"""The building blocks once more, in plain torch: the oracle of test_models.py."""

import numpy as np
import pytest


class Torch:
    """Runs plain torch layers on one module's arrays; a name such as "norm1" picks the layer's own.

    Maps are channels first in here. `eps` is that of GroupNorm; `gelu` is torch's `approximate`.
    """

    def __init__(self, arrays: dict[str, np.ndarray], groups: int = 4, eps: float = 1e-5, gelu: str = "none"):
        self.torch = pytest.importorskip("torch")
        self.arrays, self.groups, self.eps, self.gelu = arrays, groups, eps, gelu

    def at(self, name: str, **changes) -> "Torch":
        inside = {k[len(name) + 1 :]: v for k, v in self.arrays.items() if k.startswith(name + ".")}
        return Torch(inside, **{"groups": self.groups, "eps": self.eps, "gelu": self.gelu} | changes)

    def layer(self, name: str, layer, x):
        """Give a torch layer its weight and bias, and call it."""
        weight = self.arrays.get(f"{name}.kernel", self.arrays.get(f"{name}.scale"))
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[weight.ndim]
        bias = self.arrays.get(f"{name}.bias")
        state = {"weight": weight.transpose(axes)} | ({} if bias is None else {"bias": bias})
        layer.load_state_dict({k: self.torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()})
        with self.torch.no_grad():
            return layer(x)

    def conv(self, name: str, x, **options):
        size, _, i, o = self.arrays[f"{name}.kernel"].shape
        return self.layer(name, self.torch.nn.Conv2d(i, o, size, **{"padding": size // 2} | options), x)

    def linear(self, name: str, x):
        return self.layer(name, self.torch.nn.Linear(*self.arrays[f"{name}.kernel"].shape), x)

    def group_norm(self, name: str, x):
        return self.layer(name, self.torch.nn.GroupNorm(self.groups, x.shape[1], eps=self.eps), x)

    def layer_norm(self, name: str, x):
        return self.layer(name, self.torch.nn.LayerNorm(x.shape[-1], eps=1e-5), x)

    def res_block(self, h, time=None):
        silu = self.torch.nn.SiLU()
        out = self.conv("conv1", silu(self.group_norm("norm1", h)))
        if time is not None:
            out = out + self.linear("time", silu(time))[:, :, None, None]
        out = self.conv("conv2", silu(self.group_norm("norm2", out)))
        return out + (self.conv("skip", h) if "skip.kernel" in self.arrays else h)

    def attention(self, h, context=None, *, heads: int, mask=None):
        context, width = h if context is None else context, h.shape[-1]
        a = {name: self.torch.tensor(array) for name, array in self.arrays.items()}
        matrices = {f"{part}_proj_weight": a[f"{part}.kernel"].T for part in "qkv"}
        biases = self.torch.cat([a.get(f"{part}.bias", self.torch.zeros(width)) for part in "qkv"])
        h, context = h.transpose(0, 1), context.transpose(0, 1)  # tokens first
        end = {"out_proj_weight": a["out.kernel"].T, "out_proj_bias": a["out.bias"]}
        start = {"in_proj_weight": None, "in_proj_bias": biases, "bias_k": None, "bias_v": None}
        options = {"add_zero_attn": False, "dropout_p": 0.0, "training": False, "need_weights": False}
        attend = self.torch.nn.functional.multi_head_attention_forward
        out, _ = attend(
            h, context, context, width, heads, **start, **end, **options, **matrices,
            attn_mask=mask, use_separate_proj_weight=True,
        )  # fmt: skip
        return out.transpose(0, 1)

    def transformer(self, h, context, *, heads: int):
        x = self.group_norm("norm", h).flatten(2).transpose(1, 2)
        x = self.linear("proj_in", x)
        x = x + self.at("self_attention").attention(self.layer_norm("norm1", x), heads=heads)
        x = x + self.at("cross_attention").attention(self.layer_norm("norm2", x), context, heads=heads)
        value, gate = self.linear("mlp_in", self.layer_norm("norm3", x)).chunk(2, dim=-1)
        x = x + self.linear("mlp_out", value * self.torch.nn.GELU(approximate=self.gelu)(gate))
        return h + self.linear("proj_out", x).transpose(1, 2).reshape(h.shape)

    def upsample(self, h):
        return self.conv("conv", self.torch.nn.Upsample(scale_factor=2, mode="nearest")(h))

    def first(self, x: np.ndarray):
        """Channels first (of maps), as a tensor."""
        return self.torch.tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def last(x) -> np.ndarray:
    return np.moveaxis(x.numpy(), 1, -1)
