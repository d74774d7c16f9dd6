"""Whether a server can be reached, answered within seconds.

TFDS by itself tries an unreachable one for 204 s and ends in four chained tracebacks.
"""

import threading

_PROBE_SECONDS = 3.0


def why_unreachable(url: str, seconds: float = _PROBE_SECONDS) -> str | None:
  """The reason why `url` cannot be had, in a few words, or None if its server answers.

  Asks from a thread of its own, since looking a host's name up knows no timeout.
  """
  answers = []

  def ask():
    import requests  # what TFDS downloads with, so it sees the same proxies and certificates

    try:
      with requests.get(url, stream=True, timeout=seconds) as response:
        answers.append(None if response.ok else f"HTTP {response.status_code}")
    except requests.RequestException as error:
      answers.append(type(error).__name__)

  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(seconds)
  return answers[0] if answers else f"no answer within {seconds:g} s"
