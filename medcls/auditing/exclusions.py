"""From findings to the list of images to leave out, which `medcls.data.manifest.read_exclusions` reads."""

from collections.abc import Sequence

from medcls.auditing.findings import Finding


def exclusions(findings: Sequence[Finding], before: Sequence[str] = ()) -> tuple[str, int, list[str]]:
    """Word a list of relative paths, one a line, each under the reason that was first to name it.

    Parameters
    ----------
    findings : sequence of Finding
        What they exclude goes on the list.
    before : sequence of str
        What a former list names: stays on it.

    Returns
    -------
    text : str
        For a file; empty where nothing is listed.
    listed : int
        How many paths it holds.
    unlisted : list of str
        Paths that no line can hold: with a line break in them, or read as a comment.
    """
    reasons = [("left out before", before)]
    reasons += [(f"{finding.check}: {finding.title}", finding.exclude) for finding in findings]
    lines: list[str] = []
    named: set[str] = set()
    unlisted: list[str] = []
    for reason, paths in reasons:
        new = [path for path in dict.fromkeys(paths) if path not in named]
        named.update(new)
        fit = [path for path in new if path.splitlines() == [path] and path.strip() and not path.startswith("# ")]
        unlisted += [path for path in new if path not in fit]
        if fit:
            lines += [f"# {' '.join(reason.split())}", *fit]
    return "".join(f"{line}\n" for line in lines), len(named) - len(unlisted), unlisted
