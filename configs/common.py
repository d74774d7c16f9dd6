"""What the config files share: picking a method's tuned values by name."""

from ml_collections import ConfigDict

from tagjax.errors import ConfigError, nearest


def choose(config: ConfigDict, tuned: dict[str, dict], argument: str) -> ConfigDict:
  """Sets `config.method` and its tuned values.

  Args:
    config: the stream's config.
    tuned: `{method: {key: value}}`; keys may have dots. A name that is no method gives one.
    argument: what followed the colon: a method, and `,runlocal` to shrink the experiment to
      something that ends in about a minute and shows that everything works.

  Returns:
    The same config.

  Raises:
    ConfigError: if the method has no tuned values here.
  """
  method, *options = argument.split(",")
  if method not in tuned:
    raise ConfigError(
      f"no tuned values for method {method!r}{nearest(method, tuned)}: there are "
      f"{', '.join(tuned)}. "
      "For another, keep one of these and set --config.method and --config.learning_rate"
    )
  config.method = method
  config.update_from_flattened_dict(tuned[method])
  for option in options:
    if option != "runlocal":
      raise ConfigError(f"unknown option {option!r} after the method: there is runlocal")

    config.train_examples_per_task = 300
    config.test_examples_per_task = 100
  return config
