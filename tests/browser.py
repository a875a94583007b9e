"""A browser for the tests: Chromium without a window, driven by its DevTools protocol over a pipe."""
import json
import os
import re
import shutil
import subprocess
import time

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
# Root cannot use the sandbox, and containers have little space in /dev/shm.
OPTIONS = ('--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars '
           '--disable-extensions --disable-background-networking --remote-debugging-pipe').split()
# Keys that the browser itself reacts to: their codes, and the text that they type.
KEYS = {'ArrowLeft': (37, ''), 'ArrowRight': (39, ''), 'Home': (36, ''), 'End': (35, ''), ' ': (32, ' ')}


class Browser:
    """A page in Chromium, whose elements are named by CSS selectors.

    errors: reported by its console, its script and its content security policy
    opened, requests: the addresses of the pages that were opened, and of everything that was fetched
    """

    def __init__(self, folder):
        """Start Chromium, which keeps its files in folder."""
        commands, answers = os.pipe(), os.pipe()
        # Chromium reads commands from file descriptor 3 and writes answers to file descriptor 4.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}', '-', CHROMIUM, *OPTIONS,
             f'--user-data-dir={folder}', 'about:blank'], pass_fds=[commands[0], answers[1]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands[0])
        os.close(answers[1])
        self._commands, self._answers, self._rest = os.fdopen(commands[1], 'wb', 0), answers[0], b''
        self._calls, self._session, self.errors, self.requests, self.opened = 0, {}, [], [], []
        target = next(page for page in self.call('Target.getTargets')['targetInfos'] if page['type'] == 'page')
        attached = self.call('Target.attachToTarget', targetId=target['targetId'], flatten=True)
        self._session = {'sessionId': attached['sessionId']}
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')

    def close(self):
        self._process.kill()
        self._process.wait()
        self._commands.close()
        os.close(self._answers)

    def _message(self):
        """Return the next message. If it reports an error or a request, store that."""
        while b'\0' not in self._rest:
            piece = os.read(self._answers, 1 << 16)
            assert piece, 'Chromium has ended'
            self._rest += piece
        message, self._rest = self._rest.split(b'\0', 1)
        message = json.loads(message)
        method, details = message.get('method'), message.get('params')
        if method in ('Runtime.exceptionThrown', 'Log.entryAdded', 'Runtime.consoleAPICalled'):
            self.errors.append(details)
        if method == 'Network.requestWillBeSent':
            self.requests.append(details['request']['url'])
        return message

    def call(self, method, **arguments):
        """Call a method of the protocol and return its result."""
        self._calls += 1
        command = dict(id=self._calls, method=method, params=arguments, **self._session)
        self._commands.write(json.dumps(command).encode() + b'\0')
        while True:
            message = self._message()
            if message.get('id') == self._calls:
                assert 'result' in message, message
                return message['result']

    def value(self, expression):
        """Return the value of an expression in the page, awaited if it is a promise."""
        found = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def wait(self, expression, seconds=60):
        """Wait until an expression in the page is true."""
        end = time.time() + seconds
        while not self.value(expression):
            assert time.time() < end, f'{expression} is still false'
            time.sleep(0.02)

    def open(self, path, width=1280, height=800, scheme='light', view=''):
        """Open a page in a window of this size. Return the milliseconds until it was drawn."""
        self._width = width
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=scheme)])
        self.value('void (window.onbeforeunload = null)')  # its dialog would wait for an answer
        self.call('Page.navigate', url='about:blank')
        self.opened.append(path.as_uri())
        self.call('Page.navigate', url=path.as_uri() + view)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return self.value('new Promise(drawn => '
                          'requestAnimationFrame(() => setTimeout(() => drawn(performance.now()))))')

    def all(self, selector, expression='element.textContent'):
        """Return the value of an expression, by default the text, for each element that matches a selector."""
        return self.value(f'Array.from(document.querySelectorAll({json.dumps(selector)}), element => {expression})')

    def text(self, selector):
        return self.all(selector)[0]

    def colours(self, selector):
        """Return the background's colour of each element: red, green, blue and, unless it is opaque, alpha."""
        return [[float(number) for number in re.findall(r'[\d.]+', colour)]
                for colour in self.all(selector, 'getComputedStyle(element).backgroundColor')]

    def set(self, selector, value):
        """Set a control to a value, as a reader does."""
        self.value(f"""(control => {{ control.value = {json.dumps(value)};
            for (const kind of ['input', 'change']) control.dispatchEvent(new Event(kind)); }})(
            document.querySelector({json.dumps(selector)}))""")

    def later(self, expression, milliseconds=200):
        """Return the value of an expression after a delay."""
        return self.value(f'new Promise(then => setTimeout(() => then({expression}), {milliseconds}))')

    def fits(self):
        """Return whether the page is no wider than its window."""
        return self.value('Math.max(document.documentElement.scrollWidth, innerWidth)') == self._width

    def point(self, selector):
        """Move the mouse to the middle of an element. Return its position (x, y)."""
        self.all(selector, "element.scrollIntoView({block: 'center'})")
        # Elements that come into view are laid out now, and may move others.
        self.value('new Promise(then => requestAnimationFrame(() => setTimeout(then)))')
        x, y = self.all(selector, """(box => [box.x + box.width / 2, box.y + box.height / 2])(
            element.getClientRects()[0])""")[0]
        self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
        return x, y

    def click(self, selector):
        """Click in the middle of an element."""
        x, y = self.point(selector)
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=1)

    def press(self, key):
        """Press a key by its name, such as 'a', ' ' or 'Home'."""
        code, text = KEYS.get(key, (0, key if len(key) == 1 else ''))
        named = dict(key=key, windowsVirtualKeyCode=code)
        self.call('Input.dispatchKeyEvent', type='keyDown' if text else 'rawKeyDown', text=text, **named)
        self.call('Input.dispatchKeyEvent', type='keyUp', **named)
