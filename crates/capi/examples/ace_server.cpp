// An echo server on ACE's reactor. ACE knows handles, and a handle is all that deadpeer needs: each accepted
// ACE_SOCK_Stream is protected by get_handle(), and its client object is deleted as soon as the peer's host has
// fallen silent, within the time that was asked for. No timers, no bookkeeping.
//
//     c++ ace_server.cpp $(pkg-config --cflags --libs deadpeer ACE) -o ace_server
//     ./ace_server 5000 15 5        # notice within 15 s, survive outages of 5 s; port 0: any
//
// Exit status: 1 a failure here, 2 wrong arguments. It runs until a signal ends it.
#include <ace/Event_Handler.h>
#include <ace/INET_Addr.h>
#include <ace/OS_NS_errno.h>
#include <ace/Reactor.h>
#include <ace/SOCK_Acceptor.h>
#include <ace/SOCK_Stream.h>
#include <deadpeer.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace {

using Clock = std::chrono::steady_clock;

struct PolicyFree {
    void operator()(deadpeer_policy *policy) const { deadpeer_policy_free(policy); }
};
using Policy = std::unique_ptr<deadpeer_policy, PolicyFree>;

// One client. The reactor calls it, and deletes it through handle_close().
class Client : public ACE_Event_Handler {
public:
    // The stream must be protected before any byte is awaited on it.
    bool open(ACE_Reactor *reactor, const deadpeer_policy *policy) {
        applied_.size = sizeof applied_;
        if (deadpeer_apply(stream_.get_handle(), policy, &applied_) < 0) {
            std::fprintf(stderr, "can't protect the client: %s\n", deadpeer_last_error());
            return false;
        }
        heard_ = Clock::now();
        return reactor->register_handler(this, ACE_Event_Handler::READ_MASK) == 0;
    }

    ACE_SOCK_Stream &stream() { return stream_; }
    ACE_HANDLE get_handle() const override { return stream_.get_handle(); }

    // Called for bytes, for an end of file, and for the error that the kernel's timers end with.
    int handle_input(ACE_HANDLE) override {
        char buffer[4096];
        const ssize_t length = stream_.recv(buffer, sizeof buffer);
        if (length == 0) {
            std::printf("%d: the client closed\n", stream_.get_handle());
            return -1;
        }
        if (length < 0)
            return failed(ACE_OS::last_error());
        heard_ = Clock::now();
        // Small answers only: a real server would queue what the client does not take at once.
        if (stream_.send_n(buffer, static_cast<size_t>(length)) < 0)
            return failed(ACE_OS::last_error());
        return 0;
    }

    int handle_close(ACE_HANDLE, ACE_Reactor_Mask) override {
        std::printf("%d: deleted\n", stream_.get_handle());
        delete this;
        return 0;
    }

private:
    ~Client() override { stream_.close(); }

    // -1 lets the reactor call handle_close().
    int failed(int error) const {
        if (error == EINTR || error == EWOULDBLOCK)
            return 0;
        deadpeer_peer_lost lost{};
        lost.size = sizeof lost;
        if (deadpeer_explain(stream_.get_handle(), error, &lost) == 1) {
            const std::chrono::duration<double> silent = Clock::now() - heard_;
            std::printf("%d: lost after %.1f s of silence, predicted %.1f to %.1f s: %s\n", stream_.get_handle(),
                        silent.count(), static_cast<double>(applied_.idle.least_ms) / 1e3,
                        static_cast<double>(applied_.idle.most_ms) / 1e3, lost.text);
        } else {
            std::printf("%d: %s\n", stream_.get_handle(), std::strerror(error));
        }
        return -1;
    }

    ACE_SOCK_Stream stream_;
    deadpeer_applied applied_{};
    Clock::time_point heard_;
};

class Acceptor : public ACE_Event_Handler {
public:
    explicit Acceptor(const deadpeer_policy *policy) : policy_(policy) {}
    ~Acceptor() override { acceptor_.close(); }

    bool open(ACE_Reactor *reactor, u_short port) {
        ACE_INET_Addr address(port);
        if (acceptor_.open(address, 1) != 0 || acceptor_.get_local_addr(address) != 0 ||
            reactor->register_handler(this, ACE_Event_Handler::ACCEPT_MASK) != 0) {
            std::perror("listen");
            return false;
        }
        std::printf("listening on %u\n", address.get_port_number());
        return true;
    }

    ACE_HANDLE get_handle() const override { return acceptor_.get_handle(); }

    int handle_input(ACE_HANDLE) override {
        auto *client = new Client;
        if (acceptor_.accept(client->stream()) != 0) {
            std::perror("accept"); // this client is lost, the server goes on
        } else if (client->open(reactor(), policy_)) {
            std::printf("%d: accepted\n", client->get_handle());
            return 0;
        }
        client->handle_close(ACE_INVALID_HANDLE, 0);
        return 0;
    }

private:
    const deadpeer_policy *policy_;
    ACE_SOCK_Acceptor acceptor_;
};

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s PORT DETECT_SECONDS SURVIVE_SECONDS\n", argv[0]);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    deadpeer_goals goals{};
    goals.size = sizeof goals;
    goals.detect_ms = std::strtoull(argv[2], nullptr, 10) * 1000;
    goals.survive_ms = std::strtoull(argv[3], nullptr, 10) * 1000;
    const Policy policy(deadpeer_policy_new(&goals));
    if (!policy) {
        std::fprintf(stderr, "no such policy: %s\n", deadpeer_last_error());
        return 2;
    }
    ACE_Reactor *reactor = ACE_Reactor::instance();
    Acceptor acceptor(policy.get());
    if (!acceptor.open(reactor, static_cast<u_short>(std::atoi(argv[1]))))
        return 1;
    reactor->run_reactor_event_loop();
    std::perror("reactor");
    return 1;
}
