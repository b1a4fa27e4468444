"""Parts of a page in Markdown."""


def section(text, title):
  start = text.index(f"## {title}\n")
  end = text.find("\n## ", start + 1)
  return text[start : end if end > 0 else None]
