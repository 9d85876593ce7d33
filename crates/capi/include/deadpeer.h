/*
 * deadpeer: know within seconds, not hours, that a TCP peer is gone, and why.
 *
 *     deadpeer_goals goals = { .size = sizeof goals, .detect_ms = 15000, .survive_ms = 5000 };
 *     deadpeer_policy *policy = deadpeer_policy_new(&goals);
 *     if (policy == NULL || deadpeer_apply(fd, policy, NULL) < 0)
 *         fprintf(stderr, "%s\n", deadpeer_last_error());
 *     ...
 *     ssize_t n = recv(fd, buffer, sizeof buffer, 0);
 *     deadpeer_peer_lost lost = { .size = sizeof lost };
 *     if (n < 0 && deadpeer_explain(fd, errno, &lost) == 1)
 *         fprintf(stderr, "%s\n", lost.text);  // the peer fell silent while the connection was idle, 10 s ago ...
 *
 * Rules that hold for all functions:
 *
 * - Negative numbers and NULL are failures: deadpeer_last_error() says why, in a sentence. No call ends the
 *   program, throws, or calls back.
 * - Structures begin with `size`: set it to sizeof before the call. Later versions only add fields at their
 *   ends, so old programs work with a new library. deadpeer_range and deadpeer_gap never change.
 * - Handles are opaque. A null, freed or foreign handle is an error, never a crash. Every function may be
 *   called from any thread; calls with one heartbeat come one after the other.
 * - errno is not kept.
 *
 * Link with -ldeadpeer, or `pkg-config --cflags --libs deadpeer`. Guide: docs/c.md.
 */

#ifndef DEADPEER_H
#define DEADPEER_H

/* Made of the code by cbindgen (crates/capi/tests/header.rs): don't change it by hand. */

#include <stddef.h>
#include <stdint.h>

/* The system's handle of a socket: a file descriptor; on Windows a SOCKET. */
#ifdef _WIN32
typedef uintptr_t deadpeer_socket_t;
#else
typedef int deadpeer_socket_t;
#endif

// A time that never comes.
#define DEADPEER_NEVER -1

// A number that the system does not tell.
#define DEADPEER_UNKNOWN -2

// The most gaps that a `deadpeer_applied` has room for: one for each option that is set.
#define DEADPEER_GAPS 8

// What happened to the peer, as far as it can be told.
typedef enum deadpeer_loss {
  // The connection has not ended as far as this system knows.
  DEADPEER_LOSS_NONE = 0,
  // The peer closed its sending side (FIN): it sends nothing more. Whether it still reads can't be told until
  // something is sent to it.
  DEADPEER_LOSS_CLOSED = 1,
  // It answered with a reset (RST): killed, rebooted, or it closed with our data unread.
  DEADPEER_LOSS_RESET = 2,
  // Nothing came from it while nothing was in flight: its host or the way to it is dead.
  DEADPEER_LOSS_SILENT_IDLE = 3,
  // It acknowledged nothing of what was sent: its host or the way to it is dead.
  DEADPEER_LOSS_SILENT_IN_FLIGHT = 4,
  // Its kernel answered, but its window stayed shut for the user timeout: it lives and reads nothing.
  DEADPEER_LOSS_WINDOW_SHUT = 5,
  // The network said that it can't be reached.
  DEADPEER_LOSS_UNREACHABLE = 6,
  // The connection was ended on this host, by its owner or its administrator.
  DEADPEER_LOSS_ABORTED_HERE = 7,
  // Its heartbeats stopped: its host, the way to it, or its application is dead.
  DEADPEER_LOSS_HEARTBEAT_MISSED = 8,
  // Its heartbeats stopped, and its kernel goes on answering: the application hangs.
  DEADPEER_LOSS_HUNG = 9,
  // There is no connection, and there never was one: nobody answered the attempt in time, or none was made.
  DEADPEER_LOSS_NEVER_CONNECTED = 10,
  // The attempt to connect was refused: no program accepts connections there, or a firewall says so.
  DEADPEER_LOSS_REFUSED = 11,
  // The connection has ended, not by the peer's close as far as the system tells, and the cause is not known
  // any more: another reader of the same socket has taken it.
  DEADPEER_LOSS_ENDED = 12,
  // Something that this version has no number for: see the text.
  DEADPEER_LOSS_OTHER = 99,
} deadpeer_loss;

// Who noticed.
typedef enum deadpeer_mechanism {
  // Nobody: the connection has not ended as far as this system knows.
  DEADPEER_MECHANISM_NONE = 0,
  // The peer's FIN.
  DEADPEER_MECHANISM_END_OF_FILE = 1,
  // The peer's RST.
  DEADPEER_MECHANISM_RESET = 2,
  // Keepalive probes that went unanswered.
  DEADPEER_MECHANISM_KEEPALIVE = 3,
  // The bound on unacknowledged data (TCP_USER_TIMEOUT).
  DEADPEER_MECHANISM_USER_TIMEOUT = 4,
  // Retransmissions, or probes of a shut window, used up.
  DEADPEER_MECHANISM_RETRANSMISSIONS = 5,
  // An ICMP message, or a route that is gone.
  DEADPEER_MECHANISM_ICMP = 6,
  // The application's own heartbeat.
  DEADPEER_MECHANISM_HEARTBEAT = 7,
  // Somebody on this host.
  DEADPEER_MECHANISM_LOCAL = 8,
  // It is not known who.
  DEADPEER_MECHANISM_UNKNOWN = 9,
  // Something that this version has no number for: see the text.
  DEADPEER_MECHANISM_OTHER = 99,
} deadpeer_mechanism;

// What is to be thought of a connection; the worst has the highest number.
typedef enum deadpeer_verdict {
  // Something that this version has no number for: see the word.
  DEADPEER_VERDICT_OTHER = 0,
  // Heard from a moment ago. It proves the peer's kernel, not its application.
  DEADPEER_VERDICT_ALIVE = 10,
  // On its way to its end, as TCP means it to be.
  DEADPEER_VERDICT_CLOSING = 20,
  // Over. Its owner holds a socket that is connected to nothing.
  DEADPEER_VERDICT_ENDED = 25,
  // Not yet connected.
  DEADPEER_VERDICT_OPENING = 30,
  // Nothing wrong, nothing proven.
  DEADPEER_VERDICT_UNVERIFIED = 40,
  // The peer's kernel answers and nothing moves: somebody does not read, or does not accept.
  DEADPEER_VERDICT_STALLED = 50,
  // The peer has closed, the owner here has not.
  DEADPEER_VERDICT_LEAKED = 60,
  // Tries go unanswered; not yet proof, or our own way is in doubt.
  DEADPEER_VERDICT_SUSPECT = 70,
  // Silent to enough tries for long enough while our own way is up, or reset.
  DEADPEER_VERDICT_DEAD = 80,
} deadpeer_verdict;

// Why the verdict is what it is.
typedef enum deadpeer_cause {
  // Something that this version has no number for: see the word.
  DEADPEER_CAUSE_OTHER = 0,
  // The peer was heard a moment ago.
  DEADPEER_CAUSE_HEARD = 1,
  // The peer answered a question.
  DEADPEER_CAUSE_ANSWERED = 2,
  // Nobody has tried anything.
  DEADPEER_CAUSE_NOTHING_PROVEN = 3,
  // Questions went unanswered.
  DEADPEER_CAUSE_QUESTIONS_UNANSWERED = 4,
  // Retransmissions went unanswered.
  DEADPEER_CAUSE_RETRANSMISSIONS_UNANSWERED = 5,
  // The socket's own keepalive probes went unanswered.
  DEADPEER_CAUSE_KEEPALIVE_UNANSWERED = 6,
  // Probes of the shut window went unanswered.
  DEADPEER_CAUSE_WINDOW_PROBES_UNANSWERED = 7,
  // Silence, but our own way to the peer is broken or in doubt.
  DEADPEER_CAUSE_LOCAL_PATH = 8,
  // The peer's host answered with a reset.
  DEADPEER_CAUSE_RESET = 9,
  // The peer's window stays shut.
  DEADPEER_CAUSE_SHUT_WINDOW = 10,
  // Our own program does not read.
  DEADPEER_CAUSE_UNREAD_QUEUE = 11,
  // Our own program does not accept.
  DEADPEER_CAUSE_ACCEPT_QUEUE = 12,
  // The peer has closed.
  DEADPEER_CAUSE_PEER_CLOSED = 13,
  // This side has closed, or both have.
  DEADPEER_CAUSE_CLOSED_HERE = 14,
  // The handshake is under way.
  DEADPEER_CAUSE_CONNECTING = 15,
  // It waits for connections.
  DEADPEER_CAUSE_LISTENING = 16,
  // The peer answers, and does not acknowledge segments of this size: they are lost on the way.
  DEADPEER_CAUSE_MTU_BLACK_HOLE = 17,
  // The connection has ended, and its owner has taken the reason.
  DEADPEER_CAUSE_UNKNOWN = 18,
} deadpeer_cause;

// What `deadpeer_heartbeat_poll` tells.
typedef enum deadpeer_event_kind {
  // Nothing.
  DEADPEER_EVENT_KIND_NONE = 0,
  // The peer greeted, and the two agreed. `data`: who the peer says it is. `us`: from now on the peer is
  // lost when nothing is heard for this long.
  DEADPEER_EVENT_KIND_UP = 1,
  // A message: `data`.
  DEADPEER_EVENT_KIND_MESSAGE = 2,
  // The round-trip time between the two applications: `us`.
  DEADPEER_EVENT_KIND_ROUND_TRIP = 3,
  // The peer sends no more messages, and goes on beating.
  DEADPEER_EVENT_KIND_END = 4,
  // The peer leaves. `reason`; `us`: when it wants to be connected again, 0 leaves it open; `data`: a text for its
  // operator. Once everything that waits is sent, the answer stands in the output by itself: write it, and close.
  DEADPEER_EVENT_KIND_BYE = 5,
  // The peer is lost: nothing arrived for `us`. Close the connection.
  DEADPEER_EVENT_KIND_LOST = 6,
  // The peer lost what is behind it: what it sent is incomplete. `reason`. Close the connection.
  DEADPEER_EVENT_KIND_RESET = 7,
  // The peer asks for another session, `us` from now. This one goes on.
  DEADPEER_EVENT_KIND_DRAIN = 8,
  // The peer's bytes arrive, and it has not answered for `us`: its program may hang while its kernel sends what it had
  // written. It is not dead.
  DEADPEER_EVENT_KIND_UNRESPONSIVE = 9,
} deadpeer_event_kind;

// What a function returns when it fails. `deadpeer_last_error()` has the text.
typedef enum deadpeer_status {
  // No failure.
  DEADPEER_STATUS_OK = 0,
  // An argument is wrong: a null pointer, a handle that was freed or is none, a number out of its range, a
  // structure whose `size` was not set.
  DEADPEER_STATUS_INVALID = -1,
  // A system call failed; `deadpeer_last_errno()` has its error number.
  DEADPEER_STATUS_SYSTEM = -2,
  // What is wanted contradicts itself, or can't be had on this system.
  DEADPEER_STATUS_UNREACHABLE = -3,
  // The peer sent what it may not, or this side may not say that now.
  DEADPEER_STATUS_PROTOCOL = -4,
  // Too much waits to be written: write it first.
  DEADPEER_STATUS_FULL = -5,
  // A defect of this library. The object of the call must not be used any more, except to free it.
  DEADPEER_STATUS_BUG = -6,
} deadpeer_status;

// Why a side leaves.
typedef enum deadpeer_reason {
  // It is done.
  DEADPEER_REASON_DONE = 0,
  // It restarts.
  DEADPEER_REASON_RESTARTING = 1,
  // It has too many sessions, or too much to do.
  DEADPEER_REASON_OVERLOADED = 2,
  // With what the other side offers, a death would go unnoticed for too long.
  DEADPEER_REASON_TOO_SLOW = 3,
  // The other side sent what it may not.
  DEADPEER_REASON_MALFORMED = 4,
  // It refuses the other side.
  DEADPEER_REASON_REFUSED = 5,
  // It lost what is behind it.
  DEADPEER_REASON_LOST = 6,
  // A newer session of the same name replaces this one.
  DEADPEER_REASON_REPLACED = 7,
  // The other side did not prove who it is.
  DEADPEER_REASON_UNAUTHORISED = 8,
  // It does not know the target that the other side asked for.
  DEADPEER_REASON_UNKNOWN_TARGET = 9,
} deadpeer_reason;

// Which side of the connection.
typedef enum deadpeer_role {
  // The side that connected. It greets first.
  DEADPEER_ROLE_CONNECTOR = 0,
  // The side that accepted the connection.
  DEADPEER_ROLE_ACCEPTOR = 1,
} deadpeer_role;

// A heartbeat: see `deadpeer_heartbeat_open`.
typedef struct deadpeer_heartbeat deadpeer_heartbeat;

// A policy: see `deadpeer_policy_new`.
typedef struct deadpeer_policy deadpeer_policy;

// What is wanted of a connection; the input of `deadpeer_policy_new`. Set what you don't want to 0.
typedef struct deadpeer_goals {
  // `sizeof(deadpeer_goals)`.
  size_t size;
  // A death is noticed within this time, milliseconds. Needed.
  uint64_t detect_ms;
  // An outage this long must not end a healthy connection, milliseconds; 0: a third of `detect_ms`.
  uint64_t survive_ms;
  // A NAT or firewall on the way forgets connections that are idle for this long, milliseconds; 0: none
  // does.
  uint64_t mapping_timeout_ms;
  // Upper bound for probes and their answers on an idle connection, bytes of IP packets; 0: none.
  uint64_t bytes_per_day;
  // Not 0: the peer may keep its window shut for long and must live. This forbids a user timeout, so on Linux
  // nothing but `accept_rto_ceiling` bounds data in flight.
  int slow_readers;
  // Not read: where the first version of this structure ended, a program may have anything.
  int reserved;
  // Not 0: a socket may get an RTO ceiling (TCP_RTO_MAX_MS, Linux 6.15), which bounds data in flight and spares
  // slow readers. Data that was written before close() is then lost in an outage of a few seconds, or while
  // the peer reads nothing, unless you call `deadpeer_before_close`; shorter outages end connections; and
  // a congested link sees more retransmissions.
  int accept_rto_ceiling;
  // Not 0: where the system can't keep `detect_ms` in every state, `deadpeer_apply` does what it can, and what
  // falls short is no error.
  int best_effort;
} deadpeer_goals;

// A range of times.
typedef struct deadpeer_range {
  // Not before: milliseconds, `DEADPEER_NEVER` or `DEADPEER_UNKNOWN`.
  int64_t least_ms;
  // Not after: milliseconds, `DEADPEER_NEVER` or `DEADPEER_UNKNOWN`.
  int64_t most_ms;
} deadpeer_range;

// An option that the system did not take as it was wanted.
typedef struct deadpeer_gap {
  // The system's name of the option: "TCP_USER_TIMEOUT".
  char option[32];
  // What was wanted, milliseconds; 0 for "off". Of a number of probes, how many.
  int64_t wanted_ms;
  // What the socket has instead, or `DEADPEER_UNKNOWN`.
  int64_t got_ms;
  // The error number that setting it met, or 0.
  int error;
} deadpeer_gap;

// What a socket has after `deadpeer_apply`, read back from the system.
typedef struct deadpeer_applied {
  // `sizeof(deadpeer_applied)`, set by the caller; what was filled in, set by the library.
  size_t size;
  // The first keepalive probe comes after this much silence; 0: keepalive is off.
  int64_t keepalive_idle_ms;
  // The distance of the following probes.
  int64_t keepalive_interval_ms;
  // So many of them are sent.
  int64_t keepalive_probes;
  // The bound on unacknowledged data (TCP_USER_TIMEOUT); 0: none.
  int64_t user_timeout_ms;
  // The largest distance of retransmissions (TCP_RTO_MAX_MS), where a socket has one of its own (Linux
  // 6.15); else 0 or `DEADPEER_UNKNOWN`.
  int64_t rto_max_ms;
  // How long a silent peer goes unnoticed while nothing is in flight.
  struct deadpeer_range idle;
  // How long it does when data was sent, counted from sending, on a path with a round trip of up to 300 ms.
  struct deadpeer_range in_flight;
  // So many entries of `gaps` are set.
  size_t gap_count;
  // What the system did not take.
  struct deadpeer_gap gaps[DEADPEER_GAPS];
} deadpeer_applied;

// Why a connection has ended, and who noticed.
typedef struct deadpeer_peer_lost {
  // `sizeof(deadpeer_peer_lost)`, set by the caller; what was filled in, set by the library.
  size_t size;
  // What happened.
  enum deadpeer_loss cause;
  // Who noticed.
  enum deadpeer_mechanism noticed_by;
  // How long ago anything last came from the peer when the end was noticed, milliseconds, or
  // `DEADPEER_UNKNOWN`.
  int64_t silent_ms;
  // Bytes written that the peer has not acknowledged, or `DEADPEER_UNKNOWN`. It bounds what the peer's
  // kernel may lack; what its application has processed nobody knows.
  int64_t unacknowledged;
  // The system's error number (`ETIMEDOUT` …), or 0. **It is gone from the socket**: the next read says
  // "end of file".
  int error;
  // The cause as a word that stays: "silent-idle".
  char cause_word[32];
  // The mechanism as a word that stays: "keepalive".
  char noticed_by_word[32];
  // All of it as a sentence: "the peer fell silent while the connection was idle, 10 s ago (keepalive)".
  char text[192];
} deadpeer_peer_lost;

// What each of the classic methods says of a connection, and what follows from all of them.
typedef struct deadpeer_diagnosis {
  // `sizeof(deadpeer_diagnosis)`, set by the caller; what was filled in, set by the library.
  size_t size;
  // What is to be thought of it.
  enum deadpeer_verdict verdict;
  // Why.
  enum deadpeer_cause cause;
  // How long ago anything last came from the peer, milliseconds, or `DEADPEER_UNKNOWN`.
  int64_t silent_ms;
  // For how long our tries have gone unanswered, milliseconds; 0: nothing waits for an answer.
  int64_t unanswered_ms;
  // The smoothed round-trip time, microseconds, or `DEADPEER_UNKNOWN`.
  int64_t round_trip_us;
  // Bytes sent or queued that the peer has not acknowledged.
  int64_t unacknowledged;
  // Bytes that arrived and that the program here has not read.
  int64_t unread;
  // The error that was pending, or 0. Asking took it from the socket: the next read says "end of file", so
  // keep it.
  int pending_error;
  // poll(2): not 0: a read would not block. Data, end of file and errors all say so.
  int readable;
  // poll(2): not 0: a write would not block; it may fail.
  int writable;
  // poll(2): not 0: the peer has closed its sending side, or the connection has ended.
  int peer_closed;
  // recv(2) with MSG_PEEK: not 0: everything was read and the peer has closed, *or* the connection has
  // ended and its error was taken before.
  int end_of_file;
  // Retransmissions of the oldest segment that have gone unanswered.
  int retransmits;
  // Probes (keepalive, shut window) that have gone unanswered.
  int probes;
  // How long a silent peer would go unnoticed from now on while nothing is in flight.
  struct deadpeer_range idle;
  // How long it would with data in flight.
  struct deadpeer_range in_flight;
  // The state of TCP in ss(8)'s words: "established". It proves nothing about the peer.
  char state[16];
  // The verdict as a word that stays: "suspect".
  char verdict_word[32];
  // The cause as a word that stays: "retransmissions-unanswered".
  char cause_word[32];
  // The evidence, the weightiest first, separated by commas.
  char evidence[256];
} deadpeer_diagnosis;

// Something that happened.
typedef struct deadpeer_event {
  // `sizeof(deadpeer_event)`, set by the caller; what was filled in, set by the library.
  size_t size;
  // What it is.
  enum deadpeer_event_kind kind;
  // Why the peer leaves: a `deadpeer_reason`, or a number that this version does not know.
  int reason;
  // A time, microseconds: see the kind.
  int64_t us;
  // Bytes: see the kind. They stay until the next call with this heartbeat; no zero follows them.
  const uint8_t *data;
  // How many.
  size_t length;
} deadpeer_event;

// Something that happened in a session, for `deadpeer_heartbeat_events`.
typedef struct deadpeer_happened {
  // What: "heard-beat", "sent-ping" …, with a zero at its end.
  char what[24];
  // How long ago, microseconds.
  int64_t ago_us;
  // The number of bytes of data, the number of a reason, or the microseconds of a round trip.
  uint32_t count;
} deadpeer_happened;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that is loaded: "0.1.0".
const char *deadpeer_version(void);

// Why the last call that failed on this thread failed, as a sentence in English; "" if none has. Successful
// calls leave it alone. The text stays where it is until the next call fails on this thread.
const char *deadpeer_last_error(void);

// The system's error number of the last call that failed on this thread; 0 if no system call failed.
int deadpeer_last_errno(void);

// Makes a policy of what is wanted. One that contradicts itself can't be made.
//
// A policy is never changed: share it between threads and connections, and free it with
// `deadpeer_policy_free`.
//
// Returns NULL on failure: `deadpeer_last_error()` says what contradicts what.
//
// Safety: `goals` is null or points to a structure whose `size` is right.
struct deadpeer_policy *deadpeer_policy_new(const struct deadpeer_goals *goals);

// Frees a policy. NULL is allowed. Whatever was made with the policy lives on. Returns 0, or
// `DEADPEER_STATUS_INVALID`.
int deadpeer_policy_free(struct deadpeer_policy *policy);

// Plans a policy for this system, applies it to a TCP socket, and reads back what the system took.
//
// Sockets that a listener accepts later inherit the settings from it on Linux; those that it has accepted
// already do not. `applied` may be NULL where only the number of gaps matters.
//
// Returns the number of gaps: 0 when the system took all of it. Negative: nothing can keep this policy here, or
// what the socket has now keeps less than the policy wants (`DEADPEER_STATUS_UNREACHABLE`: the settings stay, and
// `applied` is filled in); or the socket takes no such settings (`DEADPEER_STATUS_SYSTEM`). With
// `deadpeer_goals.best_effort` what falls short is no error: `applied` says what the socket keeps.
//
// Safety: `socket` is not closed meanwhile; `applied` is null or points to a structure whose `size` is right.
int deadpeer_apply(deadpeer_socket_t socket,
                   const struct deadpeer_policy *policy,
                   struct deadpeer_applied *applied);

// Puts a socket's RTO ceiling (TCP_RTO_MAX_MS) back to Linux' longest, 120 s. Call it before you close a socket
// whose policy has `accept_rto_ceiling`: else what was written before the close may be lost. A socket without a
// ceiling of its own is left alone.
//
// Returns 0, or `DEADPEER_STATUS_SYSTEM` for what is no TCP socket.
//
// Safety: `socket` is not closed meanwhile.
int deadpeer_before_close(deadpeer_socket_t socket);

// Waits up to `timeout_ms` milliseconds for the system to know that the peer is gone or has closed. Data
// that comes neither ends the wait nor is read. 0 does not wait, negative waits for ever.
//
// A client that has closed its sending side after its request, and waits for the answer, counts as closed: see
// `deadpeer_over`.
//
// Returns 1 with `lost` filled in, or 0 when nothing is known within that time. `lost` may be NULL. A
// pending error is taken from the socket and told in `lost`: keep it. Negative: this is no TCP connection
// (`DEADPEER_STATUS_SYSTEM`).
//
// Safety: `socket` is not closed meanwhile; `lost` is null or points to a structure whose `size` is right.
int deadpeer_lost(deadpeer_socket_t socket,
                  int64_t timeout_ms,
                  struct deadpeer_peer_lost *lost);

// Waits up to `timeout_ms` milliseconds for the system to know that the connection is over: reset, timed out, or
// closed by both sides. Neither data nor the peer's FIN ends the wait. Else as `deadpeer_lost`.
//
// This is the wait for work that is given up when nobody wants its result any more. A client that has closed its
// sending side gets its answer. One that has closed both directions looks the same until something is sent to it.
// Windows does not tell that this side has closed, too: there, only an error ends the wait.
//
// Safety: As `deadpeer_lost`.
int deadpeer_over(deadpeer_socket_t socket,
                  int64_t timeout_ms,
                  struct deadpeer_peer_lost *lost);

// Explains the error number with which recv(2), send(2) or their like failed on `socket`, or which
// `SO_ERROR` said. Ask before the socket is closed.
//
// Returns 1 with `lost` filled in when that error ends a connection, and 0 when it does not (`EINTR`,
// `EAGAIN`, `EPIPE` after one's own shutdown). `lost` may be NULL.
//
// Safety: `socket` is not closed meanwhile; `lost` is null or points to a structure whose `size` is right.
int deadpeer_explain(deadpeer_socket_t socket,
                     int error,
                     struct deadpeer_peer_lost *lost);

// Looks at a connected TCP socket in every way that neither reads nor writes nor waits.
//
// What none of them can see: whether a silent peer lives. Only waiting for the timers tells
// (`deadpeer_lost`), and whether the peer's application works, only a heartbeat.
//
// Returns 1 when the connection has ended, with `lost` filled in as `deadpeer_lost` does it; else 0. `lost`
// may be NULL.
//
// Safety: `socket` is not closed meanwhile; `diagnosis` and `lost` are null or point to structures whose `size` is
// right.
int deadpeer_diagnose(deadpeer_socket_t socket,
                      struct deadpeer_diagnosis *diagnosis,
                      struct deadpeer_peer_lost *lost);

// Starts one side of a session of deadpeer's own protocol: heartbeats, messages and a goodbye, over any byte
// stream whose other end speaks it too. A heartbeat notices what no socket option can: a peer whose kernel
// answers while its program hangs.
//
// It owns no socket. The caller's loop, whatever it waits with:
//
// 1. what arrived goes to `deadpeer_heartbeat_input`;
// 2. then, and at the deadline, `deadpeer_heartbeat_poll` until it returns 0;
// 3. `deadpeer_heartbeat_output` says what to write; `deadpeer_heartbeat_written` how much of it was;
// 4. wait for the socket to be readable (and writable, if something is left), for
//    `deadpeer_heartbeat_next_deadline_ms` at most. Read before you poll: after a pause of your own program
//    the peer's beats wait in the socket.
//
// The policy decides how often the two beat, and when silence is a loss. `id` says who this side is, in
// UTF-8, at most 64 bytes; NULL: nobody. `role` is a `deadpeer_role`: the side that connected greets first.
//
// Returns NULL on failure, as when no heartbeat can keep the policy. Free it with `deadpeer_heartbeat_free`.
//
// Safety: `id` is null or ends with a zero.
struct deadpeer_heartbeat *deadpeer_heartbeat_open(const struct deadpeer_policy *policy,
                                                   const char *id,
                                                   int role);

// Takes bytes that arrived from the peer, in any portions; they are copied. Then poll. Returns 0.
//
// Safety: `bytes` points to `length` bytes, or is null where `length` is 0.
int deadpeer_heartbeat_input(struct deadpeer_heartbeat *heartbeat,
                             const uint8_t *bytes,
                             size_t length);

// Tells what happened, one event a call, and decides what is to be sent now.
//
// Returns 1 with `event` filled in, 0 when there is nothing more to tell. On failure the session can't go on:
// the peer sent what it may not (`DEADPEER_STATUS_PROTOCOL`), or offers beats too slow for the policy
// (`DEADPEER_STATUS_UNREACHABLE`). A goodbye that says so is in the output then: write it, and close.
//
// Safety: `event` is null or points to a structure whose `size` is right.
int deadpeer_heartbeat_poll(struct deadpeer_heartbeat *heartbeat,
                            struct deadpeer_event *event);

// What is to be written to the peer: sets `*bytes` and returns how many there are; 0 when nothing waits, and
// on failure. They stay until the next call with this heartbeat.
//
// Safety: `bytes` is null or points to a pointer.
size_t deadpeer_heartbeat_output(struct deadpeer_heartbeat *heartbeat,
                                 const uint8_t **bytes);

// The first `length` bytes of the output were written. Returns 0.
int deadpeer_heartbeat_written(struct deadpeer_heartbeat *heartbeat, size_t length);

// Queues a message. Returns 0; `DEADPEER_STATUS_INVALID` for a message that is longer than the peer accepts;
// `DEADPEER_STATUS_PROTOCOL` before the peer has greeted and after a goodbye; `DEADPEER_STATUS_FULL` while 256 KiB wait to be
// written, because the connection or the peer's program takes no more.
//
// Safety: `bytes` points to `length` bytes, or is null where `length` is 0.
int deadpeer_heartbeat_send(struct deadpeer_heartbeat *heartbeat,
                            const uint8_t *bytes,
                            size_t length);

// Says goodbye once everything that is queued is sent: why (a `deadpeer_reason`), and when the peer may connect again,
// milliseconds; 0 leaves that open. Write the output and read on until the peer's goodbye; then close. Returns 0.
int deadpeer_heartbeat_bye(struct deadpeer_heartbeat *heartbeat,
                           int reason,
                           uint64_t back_in_ms);

// When to poll if nothing arrives before: milliseconds from now, fit for poll(2), select(2) and epoll_wait(2).
// `INT_MAX` when the session is over.
int deadpeer_heartbeat_next_deadline_ms(const struct deadpeer_heartbeat *heartbeat);

// The last events of the session, the oldest first: fills `events`, which has room for `most`, and returns how many it
// filled in, at most 32. After a loss they tell what was sent and heard before.
//
// Safety: `events` points to room for `most` structures, or is null where `most` is 0.
int deadpeer_heartbeat_events(const struct deadpeer_heartbeat *heartbeat,
                              struct deadpeer_happened *events,
                              size_t most);

// Frees a heartbeat, without a goodbye. NULL is allowed. Returns 0, or `DEADPEER_STATUS_INVALID`.
int deadpeer_heartbeat_free(struct deadpeer_heartbeat *heartbeat);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DEADPEER_H */
