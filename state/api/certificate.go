package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apiserver/pkg/server/options"

	"github.com/belay-dev/belay/state"
)

// life is how long a certificate is good; one with less than a tenth of it left is replaced at a start.
const life = 10 * 365 * 24 * time.Hour

// openCertificate gives the server's own certificate, for this machine and the address. One that is missing, about to
// expire or for other addresses is made anew.
func openCertificate(files state.Files, dir string, address net.Addr, now time.Time) (options.CertKey, error) {
	at := options.CertKey{CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key")}
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if tcp, ok := address.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() && !tcp.IP.IsLoopback() {
		addresses = append(addresses, tcp.IP)
	}
	if good(at, addresses, now) {
		return at, nil
	}
	certificate, key, err := makeCertificate(addresses, now)
	if err != nil {
		return at, fmt.Errorf("make certificate: %w", err)
	}
	if err := files.Do(FileTLS, func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return at, fmt.Errorf("make certificate: %w", err)
	}
	if err := files.Replace(FileKey, at.KeyFile, key); err != nil {
		return at, fmt.Errorf("make certificate: %w", err)
	}
	if err := files.Replace(FileCertificate, at.CertFile, certificate); err != nil {
		return at, fmt.Errorf("make certificate: %w", err)
	}
	return at, nil
}

// good says whether there is a certificate that fits.
func good(files options.CertKey, addresses []net.IP, now time.Time) bool {
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil || now.After(pair.Leaf.NotAfter.Add(-life/10)) {
		return false
	}
	for _, ip := range addresses {
		if pair.Leaf.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

func makeCertificate(addresses []net.IP, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "belay"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: addresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
