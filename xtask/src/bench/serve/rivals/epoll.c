/*
 * A rival of `deadpeer serve`: the least that people write by hand.
 *
 * One thread, one epoll set, an array of time stamps indexed by descriptor. Each heartbeat is read, stamped and
 * answered with one byte as its wake-up comes; nothing is gathered. The array is swept once a second.
 *
 * epoll TOLERANCE_MS: listens on a port of loopback that it prints.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST (1 << 16)
#define EVENTS 256
#define SWEEP_MS 1000

/* When each descriptor was heard; 0 where there is none. */
static uint32_t heard[MOST];
static int highest;

static void fail(const char *call)
{
	fprintf(stderr, "epoll: %s: %s\n", call, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint32_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000) | 1;
}

static void drop(int peer)
{
	heard[peer] = 0;
	close(peer);
}

static void accept_all(int set, int listener, uint32_t now)
{
	for (;;) {
		int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct epoll_event event = { .events = EPOLLIN, .data.fd = peer };

		if (peer < 0 && errno == EAGAIN)
			return;
		if (peer < 0 || peer >= MOST)
			fail("accept4");
		if (epoll_ctl(set, EPOLL_CTL_ADD, peer, &event))
			fail("epoll_ctl");
		heard[peer] = now;
		if (peer > highest)
			highest = peer;
	}
}

static void hear(int peer, uint32_t now)
{
	char buffer[64];
	ssize_t length = recv(peer, buffer, sizeof(buffer), 0);

	if (length < 0 && errno == EAGAIN)
		return;
	if (length <= 0 || send(peer, buffer, 1, MSG_NOSIGNAL) != 1)
		drop(peer);
	else
		heard[peer] = now;
}

static void sweep(uint32_t now, uint32_t tolerance)
{
	for (int peer = 0; peer <= highest; peer++)
		if (heard[peer] && now - heard[peer] > tolerance)
			drop(peer);
}

int main(int count, char **arguments)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	uint32_t tolerance = count == 2 ? (uint32_t)atoi(arguments[1]) : 0;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };
	struct epoll_event events[EVENTS];
	uint32_t next;

	if (!tolerance) {
		fprintf(stderr, "usage: epoll TOLERANCE_MS\n");
		return EXIT_FAILURE;
	}
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 65535) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		fail("listen");
	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, &event))
		fail("epoll_ctl");
	printf("{\"event\":\"listening\",\"address\":\"127.0.0.1:%d\"}\n", ntohs(address.sin_port));
	fflush(stdout);

	next = now_ms() + SWEEP_MS;
	for (;;) {
		int32_t rest = (int32_t)(next - now_ms());
		int ready = epoll_wait(set, events, EVENTS, rest > 0 ? rest : 0);
		uint32_t now = now_ms();

		if (ready < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < ready; i++) {
			if (events[i].data.fd == listener)
				accept_all(set, listener, now);
			else
				hear(events[i].data.fd, now);
		}
		if ((int32_t)(now - next) >= 0) {
			sweep(now, tolerance);
			next = now + SWEEP_MS;
		}
	}
}
