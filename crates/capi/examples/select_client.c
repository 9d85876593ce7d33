/*
 * A client that waits for its server in select(), without a timeout, and still learns within seconds that the
 * server's host is gone: the kernel makes the socket readable, and the error of recv() says why.
 *
 *     cc select_client.c $(pkg-config --cflags --libs deadpeer) -o select_client
 *     ./select_client 192.0.2.7 5000 15 5        # notice within 15 s, survive outages of 5 s
 *
 * Exit status: 0 the server closed, 1 a failure here, 2 wrong arguments, 3 the server is lost.
 */
#define _POSIX_C_SOURCE 200809L
#include <deadpeer.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int connect_to(const char *host, const char *port) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo(host, port, &wanted, &found);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *to = found; to != NULL && fd < 0; to = to->ai_next) {
        fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC, to->ai_protocol);
        if (fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0)
        perror("connect");
    freeaddrinfo(found);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s HOST PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);

    /* Say what is wanted. A contradiction, such as surviving more than is detected, has no policy. */
    deadpeer_goals goals = {.size = sizeof goals,
                            .detect_ms = strtoull(argv[3], NULL, 10) * 1000,
                            .survive_ms = strtoull(argv[4], NULL, 10) * 1000};
    deadpeer_policy *policy = deadpeer_policy_new(&goals);
    if (policy == NULL) {
        fprintf(stderr, "no such policy: %s\n", deadpeer_last_error());
        return 2;
    }

    int fd = connect_to(argv[1], argv[2]);
    if (fd < 0)
        return 1;
    if (fd >= FD_SETSIZE) { /* select() can't */
        fprintf(stderr, "too many open files for select()\n");
        return 1;
    }

    /* One call sets all options; what it returns is what the system did not take. */
    deadpeer_applied applied = {.size = sizeof applied};
    int gaps = deadpeer_apply(fd, policy, &applied);
    deadpeer_policy_free(policy);
    if (gaps < 0) {
        fprintf(stderr, "can't protect the connection: %s\n", deadpeer_last_error());
        return 1;
    }
    for (size_t n = 0; n < applied.gap_count; n++)
        fprintf(stderr, "not taken by this system: %s\n", applied.gaps[n].option);

    double heard = seconds();
    printf("connected\n");
    for (;;) {
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(fd, &readable);
        if (select(fd + 1, &readable, NULL, NULL, NULL) < 0) {
            if (errno == EINTR)
                continue;
            perror("select");
            return 1;
        }

        char buffer[4096];
        ssize_t length = recv(fd, buffer, sizeof buffer, 0);
        if (length > 0) {
            heard = seconds();
            fwrite(buffer, 1, (size_t)length, stdout);
            continue;
        }
        if (length == 0) {
            printf("the server closed\n");
            close(fd);
            return 0;
        }

        /* The error number alone does not tell whether the server was silent, read nothing, or was reset. */
        int error = errno;
        deadpeer_peer_lost lost = {.size = sizeof lost};
        int explained = deadpeer_explain(fd, error, &lost);
        if (explained == 0 && (error == EINTR || error == EAGAIN))
            continue;
        double silent = seconds() - heard;
        close(fd);
        if (explained != 1) {
            fprintf(stderr, "recv: %s\n", strerror(error));
            return 1;
        }
        printf("lost after %.1f s of silence, predicted %.1f to %.1f s: %s\n", silent,
               (double)applied.idle.least_ms / 1e3, (double)applied.idle.most_ms / 1e3, lost.text);
        return 3;
    }
}
