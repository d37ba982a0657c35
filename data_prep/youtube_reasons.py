"""Name the reasons of failures by what yt-dlp writes about them."""

import re

# No further attempt helps, unless the user changes something.
PERMANENT = (
  'private',
  'removed',
  'unavailable',
  'no_audio',
  'geo_blocked',
  'age_restricted',
  'copyright',
  'wrong_length',
)
# YouTube refuses this computer, not this video.
BLOCKING = ('bot_check', 'rate_limited')
# Worth another attempt at once.
PASSING = (
  'timeout',
  'network',
  'damaged',
  'wrong_length',
  'not_started',
  'unknown',
)
REASONS = (
  *(*PERMANENT, *BLOCKING, *PASSING),
  *('forbidden', 'no_format', 'client_refused'),
)

# The first that is found in what yt-dlp writes names the reason.
_SIGNS = tuple(
  (reason, re.compile(pattern, re.IGNORECASE))
  for reason, pattern in (
    ('disk_full', r'no space left on device|disk quota exceeded'),
    ('bot_check', r'confirm you.{0,6}re not a (ro)?bot'),
    (
      'rate_limited',
      r'http error 429|too many requests|rate.?limited|try again later',
    ),
    ('client_refused', r'not available on this app'),
    ('private', r'private video|video is private'),
    ('age_restricted', r'confirm your age|age.?restricted|inappropriate for'),
    (
      'geo_blocked',
      r'(available|blocked it) (in your|from your) (country|location)'
      r'(?! on copyright)|geo.?restrict',
    ),
    ('copyright', r'copyright'),
    (
      'removed',
      r'has been removed|removed by the u(ser|ploader)|account associated with'
      r'.*terminated|account has been (terminated|closed)|violating youtube',
    ),
    ('no_format', r'requested format is not available|no video formats found'),
    ('forbidden', r'http error 403'),
    (
      'unavailable',
      r'video unavailable|is (not|no longer) available|not available'
      r'|does not exist|members.only|join this channel|http error 4(04|10)'
      r'|requires payment|premieres in|live event',
    ),
    (
      'network',
      r'timed out|timeout|connection|name resolution|getaddrinfo|unreachable'
      r'|incompleteread|http error 5\d\d|ssl|unable to download',
    ),
  )
)


def reason_of(stderr: str) -> str:
  """Name the reason of a failure by what yt-dlp wrote about it."""
  for reason, pattern in _SIGNS:
    if pattern.search(stderr):
      return reason
  return 'unknown'
