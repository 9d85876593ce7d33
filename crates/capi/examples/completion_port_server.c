/*
 * Windows: an echo server on a completion port that never keeps a dead client. Each accepted socket gets the
 * settings, since Windows does not promise that it inherits them from its listener. A receive is pending on
 * each all the time; when a client's host falls silent, it completes with an error.
 *
 *     x86_64-w64-mingw32-gcc completion_port_server.c -ldeadpeer -lws2_32 -o completion_port_server.exe
 *     completion_port_server 5000 30000 5000    # notice within 30 s, survive outages of 5 s; port 0: any
 *
 * Exit status: 1 a failure here, 2 wrong arguments. It runs until it is ended.
 */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <deadpeer.h>
#include <stdio.h>
#include <stdlib.h>

enum operation { RECEIVE, SEND };

struct client {
    OVERLAPPED overlapped; /* first: a completion's pointer to it is one to the client */
    SOCKET socket;
    deadpeer_applied applied;
    ULONGLONG heard;          /* when bytes last came, in milliseconds */
    enum operation operation; /* the one that is pending: there is one at a time */
    DWORD length, echoed;
    char echo[16384];
};

/* Says why a client is gone, and lets it go. `error` is Win32's, 0 for the client's close. */
static void end(struct client *client, DWORD error) {
    deadpeer_peer_lost lost = {.size = sizeof lost};
    double silent = (double)(GetTickCount64() - client->heard) / 1e3;
    if (error == 0)
        printf("%llu: the client closed\n", (unsigned long long)client->socket);
    else if (deadpeer_explain(client->socket, (int)error, &lost) == 1)
        printf("%llu: lost after %.1f s of silence, predicted %.1f to %.1f s: %s\n",
               (unsigned long long)client->socket, silent, (double)client->applied.idle.least_ms / 1e3,
               (double)client->applied.idle.most_ms / 1e3, lost.text);
    else
        printf("%llu: error %lu after %.1f s of silence\n", (unsigned long long)client->socket, error, silent);
    closesocket(client->socket);
    free(client);
}

/* Starts an operation: its end comes to the port, whether it fails later or is done already. */
static void start(struct client *client, enum operation operation) {
    DWORD flags = 0, from = operation == SEND ? client->echoed : 0;
    DWORD to = operation == SEND ? client->length : (DWORD)sizeof client->echo;
    WSABUF buffer = {.len = to - from, .buf = client->echo + from};
    client->operation = operation;
    memset(&client->overlapped, 0, sizeof client->overlapped);
    int result = operation == SEND
                     ? WSASend(client->socket, &buffer, 1, NULL, 0, &client->overlapped, NULL)
                     : WSARecv(client->socket, &buffer, 1, NULL, &flags, &client->overlapped, NULL);
    if (result != 0 && WSAGetLastError() != WSA_IO_PENDING)
        end(client, (DWORD)WSAGetLastError());
}

static DWORD WINAPI serve(void *port) {
    for (;;) {
        DWORD length = 0;
        ULONG_PTR key;
        OVERLAPPED *overlapped = NULL;
        BOOL well = GetQueuedCompletionStatus(port, &length, &key, &overlapped, INFINITE);
        DWORD error = well ? 0 : GetLastError();
        if (overlapped == NULL) {
            fprintf(stderr, "GetQueuedCompletionStatus: error %lu\n", error);
            exit(1);
        }
        struct client *client = (struct client *)overlapped;
        if (!well) {
            end(client, error); /* a dead client: the pending operation tells it */
        } else if (client->operation == SEND) {
            client->echoed += length;
            start(client, client->echoed < client->length ? SEND : RECEIVE);
        } else if (length == 0) {
            end(client, 0);
        } else {
            client->heard = GetTickCount64();
            client->length = length;
            client->echoed = 0;
            start(client, SEND);
        }
    }
}

static SOCKET listen_on(const char *port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((u_short)atoi(port))};
    int length = sizeof any;
    SOCKET listener = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (listener == INVALID_SOCKET || bind(listener, (struct sockaddr *)&any, sizeof any) != 0 ||
        listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr *)&any, &length) != 0) {
        fprintf(stderr, "listen: error %d\n", WSAGetLastError());
        exit(1);
    }
    printf("listening on %u\n", ntohs(any.sin_port));
    return listener;
}

/* What the system did not take is no failure, but somebody should know. */
static void tell_gaps(const deadpeer_applied *applied) {
    for (size_t n = 0; n < applied->gap_count && n < DEADPEER_GAPS; n++)
        printf("not taken: %s (error %d)\n", applied->gaps[n].option, applied->gaps[n].error);
}

int main(int argc, char **argv) {
    WSADATA winsock;
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT DETECT_MS SURVIVE_MS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    deadpeer_goals goals = {.size = sizeof goals,
                            .detect_ms = strtoull(argv[2], NULL, 10),
                            .survive_ms = strtoull(argv[3], NULL, 10)};
    deadpeer_policy *policy = deadpeer_policy_new(&goals);
    if (policy == NULL) {
        fprintf(stderr, "no such policy: %s\n", deadpeer_last_error());
        return 2;
    }
    if (WSAStartup(MAKEWORD(2, 2), &winsock) != 0) {
        fprintf(stderr, "there is no Winsock 2.2\n");
        return 1;
    }
    SOCKET listener = listen_on(argv[1]);
    HANDLE port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 0);
    if (port == NULL || CreateThread(NULL, 0, serve, port, 0, NULL) == NULL) {
        fprintf(stderr, "completion port: error %lu\n", GetLastError());
        return 1;
    }
    for (;;) {
        SOCKET socket = accept(listener, NULL, NULL);
        struct client *client = socket == INVALID_SOCKET ? NULL : calloc(1, sizeof *client);
        if (client == NULL) {
            fprintf(stderr, "accept: error %d\n", WSAGetLastError());
            continue;
        }
        client->socket = socket;
        client->applied.size = sizeof client->applied;
        client->heard = GetTickCount64();
        if (deadpeer_apply(socket, policy, &client->applied) < 0 ||
            CreateIoCompletionPort((HANDLE)socket, port, 0, 0) == NULL) {
            fprintf(stderr, "can't protect a client: %s\n", deadpeer_last_error());
            end(client, ERROR_NOT_SUPPORTED);
            continue;
        }
        tell_gaps(&client->applied);
        printf("%llu: accepted\n", (unsigned long long)socket);
        start(client, RECEIVE);
    }
}
