// A rival of `deadpeer serve`: a goroutine per connection, which sets a deadline before each read and answers each
// heartbeat with one byte.
//
// deadline TOLERANCE_MS: listens on a port of loopback that it prints.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fail("usage: deadline TOLERANCE_MS")
	}
	millis, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fail(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	fmt.Printf("{\"event\":\"listening\",\"address\":%q}\n", listener.Addr())
	for {
		peer, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go hear(peer, time.Duration(millis)*time.Millisecond)
	}
}

func hear(peer net.Conn, tolerance time.Duration) {
	defer peer.Close()
	buffer := make([]byte, 64)
	for {
		peer.SetReadDeadline(time.Now().Add(tolerance))
		if _, err := peer.Read(buffer); err != nil {
			return
		}
		if _, err := peer.Write(buffer[:1]); err != nil {
			return
		}
	}
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, "deadline:", what)
	os.Exit(1)
}
