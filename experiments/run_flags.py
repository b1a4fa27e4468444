"""Flags that every binary which trains a run has."""

from absl import flags

RESUME_FROM = flags.DEFINE_string(
  "resume_from",
  "",
  "Workdir of another run whose whole state, optimiser and number of updates "
  "included, a fresh run starts from.",
)
COMPILE_CACHE_DIR = flags.DEFINE_string(
  "compile_cache_dir",
  None,
  "Folder for compiled programs, so that a restart does not compile again; "
  "compile_cache in the workdir by default, none with an empty name.",
)
PROFILE_STEPS = flags.DEFINE_string(
  "profile_steps",
  "",
  "Updates of which a trace is written to profile in the workdir: 10:15 for "
  "updates 10 to 14.",
)
