"""TAG as one writes it in PyTorch: a loop over tensors, and in it one over the earlier tasks.

The peer of `bench/tag_step.py`, for the base RMSProp. The same formulas as `tagjax.tag`, with the
moments of each task in tensors of their own. PyTorch is no dependency (`pip install torch`).
"""

import math

import torch


class TorchTag:
  """The optimizer; `params` are changed in place by `step`, from the gradients in `.grad`."""

  def __init__(self, params, learning_rate: float, num_tasks: int, b: float = 5.0):
    self.params, self.learning_rate, self.b = list(params), learning_rate, b
    self.first = [[torch.zeros_like(p) for _ in range(num_tasks)] for p in self.params]
    self.second = [[torch.zeros_like(p) for _ in range(num_tasks)] for p in self.params]
    self.directions = [[None] * num_tasks for _ in self.params]

  @torch.no_grad()
  def step(self, task: int) -> None:
    for index, p in enumerate(self.params):
      first, second = self.first[index][task], self.second[index][task]
      first.mul_(0.9).add_(p.grad, alpha=0.1)
      second.mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
      total = second
      if task:
        direction = first.flatten() / first.norm()
        total = math.exp(-self.b) * second
        for past in range(task):
          cosine = torch.dot(direction, self.directions[index][past])
          total = total + torch.exp(-self.b * cosine) * self.second[index][past]
      p.sub_(self.learning_rate * p.grad / (total.sqrt() + 1e-8))

  @torch.no_grad()
  def end_task(self, task: int) -> None:
    for index in range(len(self.params)):
      first = self.first[index][task].flatten()
      self.directions[index][task] = first / first.norm()
