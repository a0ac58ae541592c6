package source

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/ssh"
)

// signSSH signs a commit as git does with gpg.format=ssh: an armoured signature in the format of ssh-keygen -Y sign, in
// the namespace git, over the SHA-512 of the commit without its signature.
func signSSH(signer ssh.Signer, payload []byte) (string, error) {
	const magic, namespace, hash = "SSHSIG", "git", "sha512"
	sum := sha512.Sum512(payload)
	signed := ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, "", hash, sum[:]})
	signature, err := signWith(signer, append([]byte(magic), signed...))
	if err != nil {
		return "", err
	}
	blob := ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, signer.PublicKey().Marshal(), namespace, "", hash, ssh.Marshal(signature)})
	text := base64.StdEncoding.EncodeToString(append([]byte(magic), blob...))
	var b strings.Builder
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for len(text) > 0 {
		n := min(len(text), 70)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	b.WriteString("-----END SSH SIGNATURE-----\n")
	return b.String(), nil
}

// signWith signs; with an RSA key never by SHA-1, which is what such a signer does unless told.
func signWith(signer ssh.Signer, data []byte) (*ssh.Signature, error) {
	if with, ok := signer.(ssh.AlgorithmSigner); ok && signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		return with.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
	}
	return signer.Sign(rand.Reader, data)
}
