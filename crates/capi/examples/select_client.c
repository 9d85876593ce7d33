/*
 * A client that waits for its server in select(), without a timeout, and still learns within seconds that the
 * server's host is gone: the kernel makes the socket readable, and the error of recv() says why.
 *
 *     cc select_client.c $(pkg-config --cflags --libs deadpeer) -o select_client
 *     ./select_client 192.0.2.7 5000 15 5        # notice within 15 s, survive outages of 5 s
 *
 * The same on Windows:
 *
 *     x86_64-w64-mingw32-gcc select_client.c -ldeadpeer -lws2_32 -o select_client.exe
 *
 * Exit status: 0 the server closed, 1 a failure here, 2 wrong arguments, 3 the server is lost.
 */
#define _POSIX_C_SOURCE 200809L
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <errno.h>
#include <netdb.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#endif
#include <deadpeer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What differs: how errors are told, sockets closed and times read. */
#ifdef _WIN32
enum { INTERRUPTED = WSAEINTR, NOTHING_YET = WSAEWOULDBLOCK };
static int last_error(void) { return WSAGetLastError(); }
static double seconds(void) { return (double)GetTickCount64() / 1e3; }
static bool start_sockets(void) {
    WSADATA data;
    return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}
static bool fits_select(SOCKET fd) { return fd != INVALID_SOCKET; } /* one socket always does */
#else
#define INVALID_SOCKET (-1)
#define closesocket close
enum { INTERRUPTED = EINTR, NOTHING_YET = EAGAIN };
static int last_error(void) { return errno; }
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
static bool start_sockets(void) { return true; }
static bool fits_select(int fd) { return fd < FD_SETSIZE; }
#endif

static deadpeer_socket_t connect_to(const char *host, const char *port) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo(host, port, &wanted, &found);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
        return INVALID_SOCKET;
    }
    deadpeer_socket_t fd = INVALID_SOCKET;
    for (struct addrinfo *to = found; to != NULL && fd == INVALID_SOCKET; to = to->ai_next) {
        fd = socket(to->ai_family, to->ai_socktype, to->ai_protocol);
        if (fd != INVALID_SOCKET && connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
            fprintf(stderr, "connect: error %d\n", last_error());
            closesocket(fd);
            fd = INVALID_SOCKET;
        }
    }
    freeaddrinfo(found);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s HOST PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IONBF, 0); /* Windows knows no lines */
    if (!start_sockets())
        return 1;

    /* Say what is wanted. A contradiction, such as surviving more than is detected, has no policy. */
    deadpeer_goals goals = {.size = sizeof goals,
                            .detect_ms = (uint64_t)(strtod(argv[3], NULL) * 1e3),
                            .survive_ms = (uint64_t)(strtod(argv[4], NULL) * 1e3)};
    deadpeer_policy *policy = deadpeer_policy_new(&goals);
    if (policy == NULL) {
        fprintf(stderr, "no such policy: %s\n", deadpeer_last_error());
        return 2;
    }

    deadpeer_socket_t fd = connect_to(argv[1], argv[2]);
    if (fd == INVALID_SOCKET)
        return 1;
    if (!fits_select(fd)) {
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
        /* Windows overlooks the first argument. */
        if (select((int)fd + 1, &readable, NULL, NULL, NULL) < 0) {
            if (last_error() == INTERRUPTED)
                continue;
            fprintf(stderr, "select: error %d\n", last_error());
            return 1;
        }

        char buffer[4096];
        long length = (long)recv(fd, buffer, sizeof buffer, 0);
        if (length > 0) {
            heard = seconds();
            fwrite(buffer, 1, (size_t)length, stdout);
            continue;
        }
        if (length == 0) {
            printf("the server closed\n");
            closesocket(fd);
            return 0;
        }

        /* The error number alone does not tell whether the server was silent, read nothing, or was reset. */
        int error = last_error();
        deadpeer_peer_lost lost = {.size = sizeof lost};
        int explained = deadpeer_explain(fd, error, &lost);
        if (explained == 0 && (error == INTERRUPTED || error == NOTHING_YET))
            continue;
        double silent = seconds() - heard;
        closesocket(fd);
        if (explained != 1) {
            fprintf(stderr, "recv: error %d\n", error);
            return 1;
        }
        printf("lost after %.1f s of silence, predicted %.1f to %.1f s: %s\n", silent,
               (double)applied.idle.least_ms / 1e3, (double)applied.idle.most_ms / 1e3, lost.text);
        return 3;
    }
}
