"""A stand-in for the novel, and a local server that sends it."""
import http.server

NOVEL = ('PRIDE.\n  and\nPREJUDICE\n\nby Jane Austen\n\nIt is a truth universally\nacknowledged\n'
         + 'A line of the tale \u2019 with an \u00e9.\n' * 20_000 + 'The last line.\n')
HEADER = ('The Project Gutenberg eBook of Pride and Prejudice\nLICENCE\n\n'
          '*** START OF THE PROJECT GUTENBERG EBOOK PRIDE AND PREJUDICE ***\n\n\n')
FOOTER = '\n\n*** END OF THE PROJECT GUTENBERG EBOOK PRIDE AND PREJUDICE ***\nLICENCE\n'


def page_of(text):
    """Return a text as Project Gutenberg sends it: bytes with a byte order mark and CRLF."""
    return b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode('utf-8')


PAGE = page_of(HEADER + NOVEL + FOOTER)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        self.send_response(server.status)
        if server.promised is not None:
            self.send_header('Content-Length', str(server.promised))
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # the client closed the connection
            pass
