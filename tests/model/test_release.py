"""The released checkpoint's layout, at tiny size against a plain reimplementation and at 7B on the meta device."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import gelu, linear, softmax
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from elysium.cli import main
from elysium.errors import UserError
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration
from elysium.model.checkpoints import WeightFiles
from elysium.model.release import expected_shapes, export_release, import_release, map_keys, released_config
from tests.model.tiny import CLIP, LLAMA, frames, shipped_tokenizer, tiny_config, tiny_processor

N, K, C, D = 16, 4, 32, 48


def config() -> ElysiumConfig:
    return tiny_config(gate="token_mixing")


def plain(values: dict) -> dict:
    return {key: value for key, value in values.items() if key != "model_type"}


def backbones() -> tuple[CLIPVisionModel, LlamaForCausalLM]:
    torch.manual_seed(3)
    return CLIPVisionModel(CLIPVisionConfig(**plain(CLIP))).eval(), LlamaForCausalLM(LlamaConfig(**plain(LLAMA))).eval()


def released() -> dict[str, Tensor]:
    """A checkpoint by the names and shapes that the release has, with what is unused in it."""
    vision, llm = backbones()
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {f"visual_encoder.vision_model.{name}": value for name, value in vision.state_dict().items()}
    state |= {f"llm.{name}": value for name, value in llm.state_dict().items()}
    state |= {
        "adapter.pre_proj.weight": draw(1, C),
        "adapter.pre_proj.bias": draw(1),
        "adapter.score_proj.weight": draw(N, C),
        "adapter.score_proj.bias": draw(N),
        "adapter.trans_weight": draw(N, N),
        "adapter.trans_bias": draw(N),
        "llm_proj.0.weight": draw(D, C),
        "llm_proj.0.bias": draw(D),
        "llm_proj.2.weight": draw(D, D),
        "llm_proj.2.bias": draw(D),
    }
    return {name: value.contiguous() for name, value in state.items()}


def write(state: dict[str, Tensor], folder: Path, form: str) -> Path:
    folder.mkdir()
    names = sorted(state)
    halves = [names[::2], names[1::2]]
    if form == "safetensors":
        save_file(state, folder / "model.safetensors")
    for i, half in enumerate(halves):
        part = {name: state[name] for name in half}
        if form == "sharded":
            save_file(part, folder / f"model-{i + 1:05}-of-00002.safetensors")
        if form == "bin":
            torch.save(part, folder / f"pytorch_model-{i + 1:05}-of-00002.bin")
    return folder


@torch.no_grad()
def reference(state: dict[str, Tensor], pixels: Tensor, embeds: Tensor) -> tuple[Tensor, Tensor]:
    """Kept indices `[frames, K]` and logits `[1, L, V]` of the released architecture: frames first, then the text."""
    vision, llm = backbones()
    x = vision(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    kept, indices = [], []
    for tokens in x:
        scalar = tokens @ state["adapter.pre_proj.weight"].T + state["adapter.pre_proj.bias"]
        p = softmax(scalar.T @ state["adapter.trans_weight"] + state["adapter.trans_bias"], -1)[0]
        index = p.topk(K).indices.sort().values
        indices.append(index)
        kept.append(tokens[index])
    hidden = gelu(linear(torch.cat(kept), state["llm_proj.0.weight"], state["llm_proj.0.bias"]))
    features = linear(hidden, state["llm_proj.2.weight"], state["llm_proj.2.bias"])
    return torch.stack(indices), llm(inputs_embeds=torch.cat([features[None], embeds], 1)).logits


@pytest.mark.parametrize("form", ["safetensors", "sharded", "bin"])
@torch.no_grad()
def test_an_imported_release_selects_and_answers_like_the_original(form: str, tmp_path: Path) -> None:
    state = released()
    folder = write(state, tmp_path / "release", form)
    keys = import_release(folder, tmp_path / "model", config(), shard_bytes=50_000)
    assert sorted(keys.unused) == ["adapter.score_proj.bias", "adapter.score_proj.weight"]
    assert len(keys.names) == len(state) - 2
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 2
    model = ElysiumForConditionalGeneration.from_pretrained(tmp_path / "model").eval()

    pixels = tiny_processor().pixels(frames(3, seed=4))
    text = torch.tensor([[10, 300, 77, 41]])
    indices, logits = reference(state, pixels, state["llm.model.embed_tokens.weight"][text])
    assert torch.equal(model.adapter.select(model.get_vision_features(pixels)), indices)
    assert len({tuple(row) for row in indices.tolist()}) > 1
    input_ids = torch.cat([torch.full((1, 3 * K), 4), text], 1)
    got = model(input_ids=input_ids, pixel_values=pixels).logits
    torch.testing.assert_close(got, logits, atol=1e-5, rtol=1e-5)


def test_export_writes_back_what_was_imported(tmp_path: Path) -> None:
    state = released()
    import_release(write(state, tmp_path / "release", "safetensors"), tmp_path / "model", config())
    export_release(tmp_path / "model", tmp_path / "back")
    back = load_file(tmp_path / "back/model.safetensors")
    used = {name for name in state if "score_proj" not in name}
    assert back.keys() == used
    assert all(torch.equal(back[name], state[name]) for name in used)


def test_a_trained_model_survives_export_and_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ElysiumForConditionalGeneration(config())
    model.save_pretrained(tmp_path / "model")
    export_release(tmp_path / "model", tmp_path / "release")
    import_release(tmp_path / "release", tmp_path / "again", config())
    again = ElysiumForConditionalGeneration.from_pretrained(tmp_path / "again").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_bfloat16_weights_stay_bfloat16(tmp_path: Path) -> None:
    state = {name: value.bfloat16() for name, value in released().items()}
    import_release(write(state, tmp_path / "release", "bin"), tmp_path / "model", config())
    assert ElysiumForConditionalGeneration.from_pretrained(tmp_path / "model").dtype == torch.bfloat16


def test_every_key_and_shape_is_verified() -> None:
    shapes = {name: tuple(value.shape) for name, value in released().items()}
    gone = {name: shape for name, shape in shapes.items() if name != "llm_proj.2.bias"}
    with pytest.raises(UserError, match=r"missing llm_proj\.2\.bias"):
        map_keys(gone, config())
    with pytest.raises(UserError, match=r"adapter\.trans_bias is \[15\], not \[16\]"):
        map_keys(shapes | {"adapter.trans_bias": (15,)}, config())
    for name in ("llm.model.layers.2.mlp.up_proj.weight", "adapter.extra", "optimizer.state"):
        with pytest.raises(UserError, match=f"unknown {name}"):
            map_keys(shapes | {name: (1,)}, config())


def test_buffers_of_older_checkpoints_are_reported_as_unused() -> None:
    shapes = {name: tuple(value.shape) for name, value in released().items()}
    old = {
        "visual_encoder.vision_model.embeddings.position_ids": (1, 17),
        "llm.model.layers.0.self_attn.rotary_emb.inv_freq": (6,),
    }
    assert set(map_keys(shapes | old, config()).unused) >= old.keys()


def test_the_key_map_of_the_paper_s_checkpoint_is_complete() -> None:
    """Names and shapes written out from CLIP-ViT-L/14-336 and Vicuna-7B, not from our model."""
    shapes: dict[str, tuple[int, ...]] = {
        "visual_encoder.vision_model.embeddings.class_embedding": (1024,),
        "visual_encoder.vision_model.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "visual_encoder.vision_model.embeddings.position_embedding.weight": (577, 1024),
        "adapter.pre_proj.weight": (1, 1024),
        "adapter.pre_proj.bias": (1,),
        "adapter.score_proj.weight": (1, 1024),
        "adapter.trans_weight": (576, 576),
        "adapter.trans_bias": (576,),
        "llm_proj.0.weight": (4096, 1024),
        "llm_proj.0.bias": (4096,),
        "llm_proj.2.weight": (4096, 4096),
        "llm_proj.2.bias": (4096,),
        "llm.model.embed_tokens.weight": (32000, 4096),
        "llm.model.norm.weight": (4096,),
        "llm.lm_head.weight": (32000, 4096),
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(24):
        layer = f"encoder.layers.{i}"
        norms += [f"{layer}.layer_norm1", f"{layer}.layer_norm2"]
        sizes = {f"self_attn.{p}_proj": (1024, 1024) for p in ("q", "k", "v", "out")}
        for part, shape in (sizes | {"mlp.fc1": (4096, 1024), "mlp.fc2": (1024, 4096)}).items():
            shapes[f"visual_encoder.vision_model.{layer}.{part}.weight"] = shape
            shapes[f"visual_encoder.vision_model.{layer}.{part}.bias"] = shape[:1]
    for norm in norms:
        shapes |= {f"visual_encoder.vision_model.{norm}.{part}": (1024,) for part in ("weight", "bias")}
    for i in range(32):
        layer = f"llm.model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{p}_proj.weight": (4096, 4096) for p in "qkvo"}
        shapes |= {f"{layer}.mlp.{p}_proj.weight": (11008, 4096) for p in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (4096, 11008)
        shapes |= {f"{layer}.{p}_layernorm.weight": (4096,) for p in ("input", "post_attention")}
    keys = map_keys(shapes, released_config())
    assert keys.unused == ["adapter.score_proj.weight"]
    assert sorted(keys.names.values()) == sorted(expected_shapes(released_config()))


class _Runs:
    """What a hostile file would hold: an object whose unpickling acts."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    torch.save({"llm.lm_head.weight": _Runs(str(tmp_path / "acted"))}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="not a readable file of tensors"):
        import_release(folder, tmp_path / "model", config())
    assert not (tmp_path / "acted").exists()


def test_folders_that_hold_no_release_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        import_release(tmp_path / "nowhere", tmp_path / "model")
    with pytest.raises(UserError, match="no weights there"):
        WeightFiles(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        WeightFiles(tmp_path)
    with pytest.raises(UserError, match="is the folder that is read"):
        import_release(tmp_path, tmp_path)
    tiny_config().save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="only a T-Selector with the token_mixing gate"):
        export_release(tmp_path / "other", tmp_path / "out")


def test_the_commands_import_and_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the tokenizer beside the weights, what is written is a whole model folder: the engine reads it."""
    from elysium.inference.engine import Engine

    folder = write(released(), tmp_path / "release", "safetensors")
    shipped_tokenizer().save_pretrained(folder)
    config().save_pretrained(tmp_path / "config")
    model, back = tmp_path / "model", tmp_path / "back"
    for arguments in (
        ["import-release", str(folder), "--out", str(model), "--config", str(tmp_path / "config")],
        ["export-release", str(model), "--out", str(back)],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "tensors, none missing" in printed and "unused: adapter.score_proj" in printed
    assert (back / "tokenizer.json").is_file()
    assert len(Engine.from_pretrained(model).ask([frames(2)], ["What?"])) == 1

    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["import-release", str(folder), "--out", str(tmp_path / "big")])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "does not fit the configuration" in message and message.strip().count("\n") == 0
    assert not (tmp_path / "big").exists()
