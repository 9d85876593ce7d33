/*
 * The floor of `xtask bench scan`: the least that asking the kernel for its IPv4 TCP sockets can cost.
 *
 * One inet_diag dump with TCP_INFO. The messages are counted, not read. The kernel never fills more
 * than 32 KiB at once, so that a larger buffer would gain nothing. Prints the number of sockets.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *call)
{
	fprintf(stderr, "floor: %s: %s\n", call, strerror(errno));
	exit(EXIT_FAILURE);
}

int main(void)
{
	static char buffer[32 * 1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 question;
	} request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.question = {
			.sdiag_family = AF_INET,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = 1 << (INET_DIAG_INFO - 1),
			.idiag_states = ~0U,
		},
	};
	unsigned long sockets = 0;

	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		fail("socket(NETLINK_SOCK_DIAG)");
	if (send(fd, &request, sizeof(request), 0) < 0)
		fail("send");

	for (;;) {
		ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
		if (length < 0) {
			if (errno == EINTR)
				continue;
			fail("recv");
		}
		/* NLMSG_OK compares its length with an unsigned one. */
		unsigned int left = (unsigned int)length;
		for (struct nlmsghdr *message = (struct nlmsghdr *)buffer; NLMSG_OK(message, left);
		     message = NLMSG_NEXT(message, left)) {
			if (message->nlmsg_type == NLMSG_DONE) {
				printf("%lu\n", sockets);
				return EXIT_SUCCESS;
			}
			if (message->nlmsg_type == NLMSG_ERROR) {
				errno = -((struct nlmsgerr *)NLMSG_DATA(message))->error;
				fail("dump");
			}
			sockets++;
		}
	}
}
