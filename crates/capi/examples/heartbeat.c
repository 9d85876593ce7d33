/*
 * Two programs that beat for each other. The kernel of a program that hangs goes on acknowledging, so no socket
 * option ever notices it; its heartbeats stop. The loop here is poll(), any other does as well.
 *
 *     cc heartbeat.c $(pkg-config --cflags --libs deadpeer) -o heartbeat
 *     ./heartbeat listen 5000 6 1               # on one host: notice within 6 s, survive 1 s
 *     ./heartbeat connect 192.0.2.7 5000 6 1    # on another; then stop one of them: kill -STOP
 *
 * Exit status: 0 the peer left, 1 a failure here, 2 wrong arguments, 3 the peer is lost.
 */
#define _GNU_SOURCE
#include <deadpeer.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile sig_atomic_t leaving;

static void leave(int signal) {
    (void)signal;
    leaving = 1;
}

/* One connection: accepted on any address, or to `host`. -1 and a message on failure. */
static int connection(const char *host, const char *port) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM,
                              .ai_family = host == NULL ? AF_INET : AF_UNSPEC,
                              .ai_flags = host == NULL ? AI_PASSIVE : 0};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &wanted, &found);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", port, gai_strerror(error));
        return -1;
    }
    int yes = 1, fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
    if (host != NULL) {
        error = connect(fd, found->ai_addr, found->ai_addrlen);
    } else if ((error = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes)) == 0 &&
               (error = bind(fd, found->ai_addr, found->ai_addrlen)) == 0 && (error = listen(fd, 1)) == 0) {
        struct sockaddr_in here;
        socklen_t length = sizeof here;
        getsockname(fd, (struct sockaddr *)&here, &length);
        printf("listening on %u\n", ntohs(here.sin_port));
        int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        error = accepted < 0 ? -1 : 0;
        close(fd);
        fd = accepted;
    }
    freeaddrinfo(found);
    if (error != 0)
        perror(host == NULL ? "listen" : "connect");
    return error == 0 ? fd : -1;
}

/* Writes what waits, as far as the socket takes it. -1 on failure. */
static int flush(int fd, deadpeer_heartbeat *heartbeat) {
    const uint8_t *bytes;
    size_t length;
    while ((length = deadpeer_heartbeat_output(heartbeat, &bytes)) > 0) {
        ssize_t written = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        deadpeer_heartbeat_written(heartbeat, (size_t)written);
    }
    return 0;
}

/* Tells what happened. -1: go on; else the exit status. */
static int events(deadpeer_heartbeat *heartbeat) {
    static double tolerance;
    deadpeer_event event = {.size = sizeof event};
    int more;
    while ((more = deadpeer_heartbeat_poll(heartbeat, &event)) > 0) {
        switch (event.kind) {
        case DEADPEER_EVENT_KIND_UP:
            tolerance = (double)event.us / 1e6;
            printf("up: %.*s\n", (int)event.length, (const char *)event.data);
            deadpeer_heartbeat_send(heartbeat, (const uint8_t *)"hello", 5);
            break;
        case DEADPEER_EVENT_KIND_MESSAGE:
            printf("message: %.*s\n", (int)event.length, (const char *)event.data);
            break;
        case DEADPEER_EVENT_KIND_BYE:
            printf("the peer leaves\n");
            return 0; /* the answer waits in the output */
        case DEADPEER_EVENT_KIND_LOST:
            printf("lost after %.1f s of silence, predicted %.1f to %.1f s: the peer's heartbeats stopped\n",
                   (double)event.us / 1e6, tolerance, tolerance);
            return 3;
        default: /* round-trip times, and what later versions tell */
            break;
        }
    }
    if (more < 0) {
        fprintf(stderr, "%s\n", deadpeer_last_error());
        return 1;
    }
    return -1;
}

static int session(int fd, deadpeer_heartbeat *heartbeat) {
    int over = -1;
    while (over < 0) {
        if (leaving) {
            /* The peer answers when it has received everything; then it is over. */
            leaving = 0;
            deadpeer_heartbeat_bye(heartbeat, DEADPEER_REASON_DONE, 0);
        }
        const uint8_t *bytes;
        int waiting = deadpeer_heartbeat_output(heartbeat, &bytes) > 0;
        struct pollfd ready = {.fd = fd, .events = (short)(POLLIN | (waiting ? POLLOUT : 0))};
        if (poll(&ready, 1, deadpeer_heartbeat_next_deadline_ms(heartbeat)) < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        /* Read first: after a pause of our own, the peer's beats wait here. */
        uint8_t buffer[4096];
        ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (length > 0) {
            deadpeer_heartbeat_input(heartbeat, buffer, (size_t)length);
        } else if (length == 0) {
            printf("the peer closed without a goodbye\n");
            return 3;
        } else if (errno != EAGAIN && errno != EINTR) {
            int error = errno;
            deadpeer_peer_lost lost = {.size = sizeof lost};
            int explained = deadpeer_explain(fd, error, &lost) == 1;
            printf("lost: %s\n", explained ? lost.text : strerror(error));
            return 3;
        }
        over = events(heartbeat);
        if (flush(fd, heartbeat) != 0 && over < 0) {
            perror("send");
            return 3;
        }
    }
    flush(fd, heartbeat); /* the goodbye */
    return over;
}

int main(int argc, char **argv) {
    int listens = argc == 5 && strcmp(argv[1], "listen") == 0;
    if (!listens && !(argc == 6 && strcmp(argv[1], "connect") == 0)) {
        fprintf(stderr, "usage: %s listen PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        fprintf(stderr, "       %s connect HOST PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct sigaction on_signal = {.sa_handler = leave};
    sigaction(SIGINT, &on_signal, NULL);
    sigaction(SIGTERM, &on_signal, NULL);

    deadpeer_goals goals = {.size = sizeof goals,
                            .detect_ms = strtoull(argv[argc - 2], NULL, 10) * 1000,
                            .survive_ms = strtoull(argv[argc - 1], NULL, 10) * 1000};
    deadpeer_policy *policy = deadpeer_policy_new(&goals);
    int fd = policy == NULL ? -1 : connection(listens ? NULL : argv[2], argv[argc - 3]);
    deadpeer_heartbeat *heartbeat = fd < 0 ? NULL : deadpeer_heartbeat_open(
                                             policy, argv[1], listens ? DEADPEER_ROLE_ACCEPTOR : DEADPEER_ROLE_CONNECTOR);
    if (policy == NULL || (fd >= 0 && heartbeat == NULL))
        fprintf(stderr, "%s\n", deadpeer_last_error());
    int status = heartbeat == NULL ? 1 : session(fd, heartbeat);
    deadpeer_heartbeat_free(heartbeat);
    deadpeer_policy_free(policy);
    if (fd >= 0)
        close(fd);
    return status;
}
