import json

import jax
import jax.numpy as jnp
import pytest

from bench import accelerator
from tagjax.models.convolution import by_patches
from tagjax.models.mlp import MLP
from tagjax.models.reduced_resnet import ReducedResNet


def test_small_measures_every_part(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(accelerator.PARTS, "torch", lambda size: iter([{"case": "left out"}]))
  out = tmp_path / "a" / "small.json"
  accelerator.main(["--small", f"--out={out}"])
  parts = json.loads(out.read_text())["parts"]
  assert list(parts) == list(accelerator.PARTS)
  rows = [row for part in parts.values() for row in part]
  assert not [row["error"] for row in rows if "error" in row]
  assert [row["seeds"] for row in parts["seeds"]] == [1, 2]
  # Every share is one of a floor, on whatever machine.
  shares = [row["share"] for row in rows if "share" in row]
  assert len(shares) == len(parts["tag"] + parts["steps"] + parts["seeds"])
  assert min(shares) > 0
  table = out.with_suffix(".md").read_text()
  assert len(table.splitlines()) == 2 + len(rows)
  assert table in capsys.readouterr().out


def fails(size):
  yield {"case": "first", "images": 5.0}
  raise MemoryError("no room\nfor more")


def test_a_part_that_fails_keeps_its_rows_and_tells_why(monkeypatch):
  monkeypatch.setitem(accelerator.PARTS, "card", fails)
  rows = accelerator.here("card", accelerator.SMALL, 60)
  assert [row["case"] for row in rows] == ["first", "the rest"]
  assert rows[1]["error"] == "MemoryError: no room"
  assert accelerator.here("card", accelerator.SMALL, -1)[1]["error"].startswith("not measured")


def test_a_part_in_a_process_of_its_own():
  # Without PyTorch it says so; with it, a whole stream takes longer than that.
  (*_, last) = accelerator.apart("torch", 4)
  assert last["error"].startswith("not measured")
  (only,) = accelerator.apart("torch", 0)
  assert only == {"case": "the rest", "error": "not measured: 0 s are over"}


def test_an_unknown_part_is_refused(capsys):
  with pytest.raises(SystemExit):
    accelerator.parse(["--parts=card,cards"])
  assert "--parts=cards: there are card, tag" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("name", "model", "shape"),
  [
    ("mlp", MLP(100, hidden=(100, 100)), (28, 28, 1)),
    ("reduced_resnet", ReducedResNet(100, convolve=by_patches), (32, 32, 3)),
  ],
)
def test_work_agrees_with_xlas_count(name, model, shape):
  image = jnp.zeros((accelerator.BATCH, *shape))
  call = {"task_id": jnp.zeros(10, jnp.int32), "mask": jnp.ones(10, bool), "train": False}
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, **call))
  lowered = jax.jit(lambda v, x: model.apply(v, x, **call)).lower(variables, image)
  forward = accelerator.least(name, "float32", 0)["work"] / 3
  assert forward == pytest.approx(lowered.cost_analysis()["flops"], rel=0.02)


def test_goals_and_ratios():
  step = {"model": "mlp", "dtype": "float32"}
  found = {
    "card": [{"case": "memory, read", "bytes": 100.0}],
    "tag": [{"case": "a", "moved": 70.0, "step": 1.0}, {"case": "b", "moved": 69.0, "step": 1.0}],
    "seeds": [step | {"seeds": 1, "step": 1.0, "case": "1"}]
    + [step | {"seeds": 50, "step": s, "case": "50"} for s in (3.0, 3.1)],
    "stream": [{"case": "t", "seeds": 50, "an_hour": hour} for hour in (20.0, 19.0)],
    "torch": [{"case": "p", "an_hour": 1.0}],
  }
  rows = accelerator.compared(found)
  for part, ratio in (("tag", "goal 70%"), ("seeds", "3.00 times one"), ("stream", "20.0 times")):
    good, bad = rows[part][-2:]
    assert good["remark"].endswith(": reached")
    assert bad["remark"].endswith(": not reached")
    assert ratio in good["remark"]
  assert rows["tag"][0]["share"] == 0.7
  assert "remark" not in found["tag"][0]
