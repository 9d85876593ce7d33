//! TUN devices: links whose other end is a program (tun(4), Documentation/networking/tuntap.rst).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// A TUN device. The kernel hands each IP packet that leaves by the device to [`receive`](Self::receive), and
/// takes each packet given to [`send`](Self::send) as one that has arrived on the device. The device has no link
/// layer: no Ethernet header, no ARP, no neighbours.
///
/// The device exists as long as this value.
#[derive(Debug)]
pub struct Tun(OwnedFd);

impl Tun {
    /// Creates the device `name` in the network namespace of the calling thread. It is down. Neither
    /// [`receive`](Self::receive) nor [`send`](Self::send) ever waits.
    ///
    /// # Errors
    /// Of open(2) on /dev/net/tun: `ENOENT` or `ENODEV` if this machine has no TUN devices, `EACCES` or `EPERM` if
    /// this user may not open it. Of the `TUNSETIFF` ioctl(2): `EPERM` without `CAP_NET_ADMIN` in the user namespace
    /// that owns the network namespace, `EBUSY` if the name is taken, `EINVAL` if it is longer than 15 bytes.
    #[doc(alias = "TUNSETIFF")]
    pub fn create(name: &str) -> io::Result<Self> {
        let mut request = Request {
            name: [0; libc::IFNAMSIZ],
            // Packets begin with their IP header, without the four bytes of `struct tun_pi`.
            flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
            rest: [0; Request::REST],
        };
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the name of a TUN device has 1 to 15 bytes, and {name:?} has {}", name.len()),
            ));
        }
        for (to, byte) in request.name.iter_mut().zip(name.bytes()) {
            *to = byte as libc::c_char;
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(c"/dev/net/tun", flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(|error| io::Error::new(error.kind(), format!("opening /dev/net/tun: {error}")))?;
        // SAFETY: the descriptor is open. TUNSETIFF reads and writes one `struct ifreq`; `Request` has its size and
        // its first two fields, and lives on this stack. The name ends with a zero, since the loop above fills at
        // most 15 of 16 bytes.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(error.kind(), format!("creating the TUN device {name}: {error}")));
        }
        Ok(Self(fd))
    }

    /// Takes the next packet that has left by the device, and returns its length. A packet that is longer than
    /// `buffer` loses its end.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `EBADFD` if the device was deleted.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut *buffer)).map_err(io::Error::from)
    }

    /// Lets a packet arrive on the device. The kernel processes the packet, up to the socket that it is for, before
    /// this returns.
    ///
    /// # Errors
    /// `EINVAL` if its version is neither 4 nor 6, `EIO` if the device is down, `EBADFD` if it was deleted, `ENOMEM`.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.0, packet))?;
        Ok(())
    }
}

/// `struct ifreq` with the member of its union that TUNSETIFF uses; all of its bytes are initialised.
#[repr(C)]
struct Request {
    name: [libc::c_char; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; Self::REST],
}

impl Request {
    const REST: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ - size_of::<libc::c_short>();
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use deadpeer_lab::isolated;

    use super::*;
    use crate::linux::rtnetlink::Rtnetlink;

    #[test]
    fn a_device_lives_as_long_as_its_value() {
        isolated!(|| {
            let mut netlink = Rtnetlink::open().unwrap();
            let device = Tun::create("tun7").unwrap();
            assert_eq!(Tun::create("tun7").unwrap_err().kind(), ErrorKind::ResourceBusy);
            assert!(!netlink.is_running("tun7").unwrap());
            assert_eq!(device.send(&[0x45; 20]).unwrap_err().raw_os_error(), Some(libc::EIO), "it is down");
            netlink.set_link("tun7", true).unwrap();
            assert!(netlink.is_running("tun7").unwrap(), "it has its carrier at once");
            assert_eq!(device.send(&[0x10; 20]).unwrap_err().kind(), ErrorKind::InvalidInput);
            netlink.set_queue_length("tun7", 9).unwrap();
            drop(device);
            assert!(netlink.is_running("tun7").is_err());
        });
    }

    #[test]
    fn a_name_that_no_device_can_have_is_refused() {
        for name in ["", "sixteen-bytes-xx"] {
            assert_eq!(Tun::create(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
