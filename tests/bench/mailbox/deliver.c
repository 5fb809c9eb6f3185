/*
 * deliver HOST PORT lmtp|smtp SESSIONS MESSAGES BOXES OCTETS
 *
 * Sends letters to user0@box.test .. userN@box.test in turn over SESSIONS connections and prints
 * the seconds until the last was answered.  Knows nothing of the server it measures.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS_MAX = 512, IN_BYTES = 4096, OUT_BYTES = 1024, PATIENCE_MS = 60000 };

struct load {
	bool lmtp;
	uint64_t left;
	uint64_t answered;
	uint64_t refused;
	unsigned boxes;
	unsigned next_box;
	char *letter;
	size_t letter_len;
};

enum stage { GREETING, HELLO, ENVELOPE, BODY, OVER };

struct session {
	int fd;
	enum stage stage;
	unsigned wanted;                /* replies until the next step */
	size_t in_len;
	char in[IN_BYTES];
	const char *out;
	size_t out_len;
	char room[OUT_BYTES];
};

static void
fail(const char *what)
{
	(void)fprintf(stderr, "deliver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *
make_letter(size_t bytes, size_t *len_out)
{
	static const char head[] = "From: <s@load.test>\r\nTo: <u@box.test>\r\n"
				   "Subject: load\r\n\r\n";
	char *letter = malloc(bytes + 256);
	size_t len = sizeof(head) - 1;

	if (letter == NULL)
		fail("memory");
	memcpy(letter, head, len);
	while (len < bytes) {
		memset(letter + len, 'a' + (char)(len % 26), 76);
		memcpy(letter + len + 76, "\r\n", 2);
		len += 78;
	}
	memcpy(letter + len, ".\r\n", 3);
	*len_out = len + 3;
	return letter;
}

static void
send_text(struct session *session, const char *text, size_t len, unsigned wanted)
{
	session->out = text;
	session->out_len = len;
	session->wanted = wanted;
}

static void
begin_letter(struct load *load, struct session *session)
{
	int len;

	if (load->left == 0) {
		session->stage = OVER;
		return;
	}
	load->left--;
	len = snprintf(session->room, OUT_BYTES,
		       "MAIL FROM:<s@load.test>\r\nRCPT TO:<user%u@box.test>\r\nDATA\r\n",
		       load->next_box);
	load->next_box = (load->next_box + 1) % load->boxes;
	session->stage = ENVELOPE;
	send_text(session, session->room, (size_t)len, 3);
}

/* All replies that were waited for are here. */
static void
go_on(struct load *load, struct session *session, char last_code)
{
	static const char lhlo[] = "LHLO load.test\r\n", ehlo[] = "EHLO load.test\r\n";

	switch (session->stage) {
	case GREETING:
		session->stage = HELLO;
		send_text(session, load->lmtp ? lhlo : ehlo, sizeof(lhlo) - 1, 1);
		break;
	case HELLO:
		begin_letter(load, session);
		break;
	case ENVELOPE:
		session->stage = BODY;
		send_text(session, load->letter, load->letter_len, 1);
		break;
	case BODY:
		load->answered++;
		load->refused += last_code != '2';
		begin_letter(load, session);
		break;
	case OVER:
		break;
	}
}

static void
receive(struct load *load, struct session *session)
{
	ssize_t got = read(session->fd, session->in + session->in_len,
			   IN_BYTES - session->in_len);
	char *lf;

	if (got <= 0)
		fail("connection lost");
	session->in_len += (size_t)got;
	while ((lf = memchr(session->in, '\n', session->in_len)) != NULL) {
		size_t len = (size_t)(lf - session->in) + 1;
		bool is_last = len > 3 && session->in[3] != '-';
		char code = session->in[0];

		if (code == '4' || code == '5')
			(void)fprintf(stderr, "%.*s", (int)len, session->in);
		session->in_len -= len;
		memmove(session->in, session->in + len, session->in_len);
		if (is_last && session->wanted > 0 && --session->wanted == 0)
			go_on(load, session, code);
	}
}

static void
transmit(struct session *session)
{
	ssize_t sent = send(session->fd, session->out, session->out_len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		fail("send");
	if (sent > 0) {
		session->out += sent;
		session->out_len -= (size_t)sent;
	}
}

static void
dial(struct session *session, const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	const int one = 1;

	address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		fail("address");
	session->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (session->fd < 0 ||
	    connect(session->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect");
	(void)setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	session->stage = GREETING;
	session->wanted = 1;
}

static double
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void
run(struct load *load, struct session *sessions, size_t count, uint64_t messages)
{
	struct pollfd polls[SESSIONS_MAX];

	while (load->answered < messages) {
		for (size_t i = 0; i < count; i++) {
			if (sessions[i].out_len > 0)
				transmit(&sessions[i]);
			polls[i] = (struct pollfd){
				.fd = sessions[i].stage == OVER ? -1 : sessions[i].fd,
				.events = (short)(POLLIN | (sessions[i].out_len > 0 ? POLLOUT : 0)),
			};
		}
		if (poll(polls, count, PATIENCE_MS) <= 0)
			fail("nothing happened");
		for (size_t i = 0; i < count; i++)
			if (polls[i].revents & (POLLIN | POLLERR | POLLHUP))
				receive(load, &sessions[i]);
	}
}

int
main(int argc, char **argv)
{
	struct load load = { 0 };
	struct session *sessions = calloc(SESSIONS_MAX, sizeof(*sessions));
	uint64_t messages;
	size_t count;
	double begun;

	if (argc != 8 || sessions == NULL) {
		(void)fprintf(stderr, "usage: deliver HOST PORT lmtp|smtp SESSIONS MESSAGES BOXES "
			      "OCTETS\n");
		return 64;
	}
	load.lmtp = strcmp(argv[3], "lmtp") == 0;
	count = strtoul(argv[4], NULL, 10);
	messages = load.left = strtoull(argv[5], NULL, 10);
	load.boxes = (unsigned)strtoul(argv[6], NULL, 10);
	load.letter = make_letter(strtoul(argv[7], NULL, 10), &load.letter_len);
	if (count == 0 || count > SESSIONS_MAX || load.boxes == 0)
		return 64;
	for (size_t i = 0; i < count; i++)
		dial(&sessions[i], argv[1], argv[2]);
	begun = now();
	run(&load, sessions, count, messages);
	(void)printf("%.4f %llu\n", now() - begun, (unsigned long long)load.refused);
	for (size_t i = 0; i < count; i++)
		(void)close(sessions[i].fd);
	free(load.letter);
	free(sessions);
	return load.refused > 0;
}
