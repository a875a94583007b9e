"""A browser for the tests: Chromium without a window, driven by its DevTools protocol over a pipe."""
import base64
import json
import os
import shutil
import subprocess
import time

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
# As root there is no sandbox, and in a container little of /dev/shm.
OPTIONS = ('--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars '
           '--disable-extensions --disable-background-networking --remote-debugging-pipe').split()


class Browser:
    """A page in Chromium. errors: those of its console, its script and its policy. requests: what it fetched."""

    def __init__(self, folder):
        """Start Chromium, which keeps its files in folder."""
        commands, answers = os.pipe(), os.pipe()
        # It reads commands from its file 3 and writes answers to its file 4.
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}', '-', CHROMIUM, *OPTIONS,
             f'--user-data-dir={folder}', 'about:blank'], pass_fds=[commands[0], answers[1]],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands[0])
        os.close(answers[1])
        self._commands, self._answers, self._rest = os.fdopen(commands[1], 'wb', 0), answers[0], b''
        self._calls, self._session, self.errors, self.requests = 0, {}, [], []
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
        """Return the value of an expression in the page; if it is a promise, of that."""
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
        """Open a page in a window of a size. Return the milliseconds until it was drawn."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=scheme)])
        self.errors, self.requests = [], []
        self.call('Page.navigate', url='about:blank')
        self.call('Page.navigate', url=path.as_uri() + view)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return self.value('new Promise(drawn => '
                          'requestAnimationFrame(() => setTimeout(() => drawn(performance.now()))))')

    def click(self, selector):
        """Click in the middle of an element."""
        x, y = self.value(f'''(() => {{ const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: 'center'}}); const box = element.getClientRects()[0];
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()''')
        for kind, button in (('mouseMoved', 'none'), ('mousePressed', 'left'), ('mouseReleased', 'left')):
            self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button=button, clickCount=1)

    def press(self, key):
        """Press a key by its name."""
        self.call('Input.dispatchKeyEvent', type='keyDown', key=key, text=key if len(key) == 1 else '')
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key)

    def picture(self, path):
        """Write a picture of the window as a PNG."""
        path.write_bytes(base64.b64decode(self.call('Page.captureScreenshot', format='png')['data']))
