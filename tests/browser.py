"""Drive a headless Chromium without any library.

With `--remote-debugging-pipe` it speaks the DevTools protocol over the file
descriptors 3 and 4: JSON messages that end in a zero byte.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time

_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
_FLAGS = (
  '--headless=new',
  '--no-sandbox',  # refuses to run as root with one
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--no-first-run',
  '--mute-audio',
  '--autoplay-policy=no-user-gesture-required',
  '--remote-debugging-pipe',
)
_TIMEOUT_S = 30.0
_KEYS = {'Tab': 9, 'Enter': 13, ' ': 32, 'ArrowRight': 39, 'Home': 36}


class Browser:
  """One headless browser with one tab; a context manager.

  Attributes:
    complaints: uncaught exceptions, console errors, policy violations.
    requests: addresses that were asked for, data: ones left out.
  """

  def __init__(self, profile):
    self._profile = profile
    self._ids = itertools.count(1)
    self._rest = b''
    self._session = None
    self.complaints, self.requests = [], []

  def __enter__(self):
    theirs_in, self._write = os.pipe()
    self._read, theirs_out = os.pipe()
    # A shell puts the pipes where Chromium looks; its words are arguments.
    command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    flags = (*_FLAGS, f'--user-data-dir={self._profile}', 'about:blank')
    self._process = subprocess.Popen(
      ['bash', '-c', command, 'bash', CHROMIUM, *flags],
      pass_fds=(theirs_in, theirs_out),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    target = self.call('Target.createTarget', url='about:blank')['targetId']
    self._session = self.call(
      'Target.attachToTarget', targetId=target, flatten=True
    )['sessionId']
    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      self.call(f'{domain}.enable')
    return self

  def __exit__(self, *_):
    try:
      self._session = None
      self.call('Browser.close')
    except OSError:
      self._process.kill()
    self._process.wait(timeout=_TIMEOUT_S)
    os.close(self._write)
    os.close(self._read)

  def _receive(self):
    """Return the next message."""
    while b'\0' not in self._rest:
      if not select.select([self._read], [], [], _TIMEOUT_S)[0]:
        raise TimeoutError('the browser says nothing')
      data = os.read(self._read, 1 << 20)
      if not data:
        raise BrokenPipeError('the browser is gone')
      self._rest += data
    message, self._rest = self._rest.split(b'\0', 1)
    return json.loads(message)

  def _note(self, message):
    """Keep what the tests ask about."""
    params = message.get('params', {})
    match message.get('method'):
      case 'Runtime.exceptionThrown':
        self.complaints.append(params['exceptionDetails'])
      case 'Log.entryAdded':
        self.complaints.append(params['entry'])
      case 'Runtime.consoleAPICalled':
        self.complaints.append(params['args'])
      case 'Network.requestWillBeSent':
        url = params['request']['url']
        if not url.startswith('data:'):
          self.requests.append(url)

  def call(self, method, **params):
    """Send a command and return its result."""
    number = next(self._ids)
    message = {'id': number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    data = memoryview(json.dumps(message).encode() + b'\0')
    while data:
      data = data[os.write(self._write, data) :]
    while True:
      answer = self._receive()
      if answer.get('id') == number:
        assert 'error' not in answer, answer
        return answer['result']
      self._note(answer)

  def open(self, path, *, width=1280, height=900, scheme='light'):
    """Open a file from disk in a window of that size and colour scheme."""
    self.complaints.clear()
    self.requests.clear()
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 500,
    )
    self.call(
      'Emulation.setEmulatedMedia',
      features=[{'name': 'prefers-color-scheme', 'value': scheme}],
    )
    self.call('Page.navigate', url=path.absolute().as_uri())
    self.wait_for(f'document.title && location.href.endsWith("{path.name}")')
    self.wait_for('document.readyState === "complete"')

  def ask(self, expression):
    """Return the value of an expression; promises are awaited."""
    result = self.call(
      'Runtime.evaluate',
      expression=expression,
      returnByValue=True,
      awaitPromise=True,
      userGesture=True,
    )
    assert 'exceptionDetails' not in result, result
    return result['result'].get('value')

  def wait_for(self, expression):
    """Wait until an expression is true."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not self.ask(expression):
      assert time.monotonic() < deadline, f'never true: {expression}'
      time.sleep(0.05)

  def click(self, selector, share=0.5):
    """Click into an element, at a share of its width."""
    x, y = self.ask(
      f"""(() => {{
        const element = document.querySelector('{selector}');
        element.scrollIntoView({{block: 'center', behavior: 'instant'}});
        const box = element.getBoundingClientRect();
        return [box.left + box.width * {share}, box.top + box.height / 2];
      }})()"""
    )
    for kind in ('mousePressed', 'mouseReleased'):
      self.call(
        'Input.dispatchMouseEvent',
        type=kind,
        x=x,
        y=y,
        button='left',
        clickCount=1,
      )

  def press(self, key):
    """Press and release a key on whatever has the focus."""
    text = {'Enter': '\r', ' ': ' '}.get(key, '')
    for kind in ('keyDown', 'keyUp'):
      self.call(
        'Input.dispatchKeyEvent',
        type=kind,
        key=key,
        text=text if kind == 'keyDown' else '',
        windowsVirtualKeyCode=_KEYS[key],
      )

  def screenshot(self, path, *, whole=True):
    """Write a picture of the page, or of its window alone."""
    answer = self.call('Page.captureScreenshot', captureBeyondViewport=whole)
    path.write_bytes(base64.b64decode(answer['data']))
