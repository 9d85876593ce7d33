/*
 * An echo server on epoll that never keeps a dead client: the settings are applied once, to the listener, and
 * every accepted socket inherits them. When a client's host falls silent, epoll reports its socket.
 *
 *     cc epoll_server.c $(pkg-config --cflags --libs deadpeer) -o epoll_server
 *     ./epoll_server 5000 15 5        # notice within 15 s, survive outages of 5 s; port 0: any
 *
 * Exit status: 1 a failure here, 2 wrong arguments. It runs until a signal ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <deadpeer.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    double heard;     /* when bytes last came */
    size_t length;    /* of what is still to be echoed */
    char echo[16384];
};

static deadpeer_applied applied;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int listen_on(const char *port) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int yes = 1, no = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    socklen_t length = sizeof any;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) != 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&any, &length) != 0) {
        perror("listen");
        exit(1);
    }
    printf("listening on %u\n", ntohs(any.sin6_port));
    return fd;
}

/* Writes what there is to echo, and waits for room or for more. 0, or -1 with errno. */
static int echo(int epoll, struct client *client) {
    while (client->length > 0) {
        ssize_t sent = send(client->fd, client->echo, client->length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN)
            return -1;
        if (sent < 0)
            break;
        client->length -= (size_t)sent;
        memmove(client->echo, client->echo + sent, client->length);
    }
    /* While the client takes nothing, nothing is read from it. Errors are reported either way. */
    struct epoll_event wanted = {.events = client->length > 0 ? EPOLLOUT : EPOLLIN, .data.ptr = client};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &wanted);
}

/* 1: go on; 0: the client closed; -1 with errno: an error. */
static int serve(int epoll, struct client *client) {
    if (client->length == 0) {
        ssize_t length = recv(client->fd, client->echo, sizeof client->echo, 0);
        if (length == 0)
            return 0;
        if (length < 0)
            return errno == EINTR || errno == EAGAIN ? 1 : -1;
        client->heard = seconds();
        client->length = (size_t)length;
    } else {
        /* An error may be pending that recv() would tell and send() turns into EPIPE: ask for it. */
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) {
            errno = error;
            return -1;
        }
    }
    return echo(epoll, client) == 0 ? 1 : -1;
}

/* Says why a client is gone, and lets it go. */
static void end(struct client *client, int error) {
    deadpeer_peer_lost lost = {.size = sizeof lost};
    if (error == 0)
        printf("%d: the client closed\n", client->fd);
    else if (deadpeer_explain(client->fd, error, &lost) == 1)
        printf("%d: lost after %.1f s of silence, predicted %.1f to %.1f s: %s\n", client->fd,
               seconds() - client->heard, (double)applied.idle.least_ms / 1e3,
               (double)applied.idle.most_ms / 1e3, lost.text);
    else
        printf("%d: %s\n", client->fd, strerror(error));
    close(client->fd); /* epoll forgets it */
    free(client);
}

static void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0) {
            if (errno != EAGAIN)
                perror("accept");
            return;
        }
        struct client *client = calloc(1, sizeof *client);
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = client};
        if (client == NULL || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted) != 0) {
            perror("accept");
            free(client);
            close(fd);
            continue;
        }
        client->fd = fd;
        client->heard = seconds();
        printf("%d: accepted\n", fd);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    deadpeer_goals goals = {.size = sizeof goals,
                            .detect_ms = strtoull(argv[2], NULL, 10) * 1000,
                            .survive_ms = strtoull(argv[3], NULL, 10) * 1000};
    deadpeer_policy *policy = deadpeer_policy_new(&goals);
    if (policy == NULL) {
        fprintf(stderr, "no such policy: %s\n", deadpeer_last_error());
        return 2;
    }
    int listener = listen_on(argv[1]);
    applied.size = sizeof applied;
    if (deadpeer_apply(listener, policy, &applied) < 0) {
        fprintf(stderr, "can't protect the connections: %s\n", deadpeer_last_error());
        return 1;
    }
    deadpeer_policy_free(policy);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted) != 0) {
        perror("epoll");
        return 1;
    }
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, -1);
        if (count < 0 && errno != EINTR) {
            perror("epoll_wait");
            return 1;
        }
        for (int n = 0; n < count; n++) {
            struct client *client = events[n].data.ptr;
            if (client == NULL) {
                accept_all(epoll, listener);
                continue;
            }
            int state = serve(epoll, client);
            if (state <= 0)
                end(client, state < 0 ? errno : 0);
        }
    }
}
