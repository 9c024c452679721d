/* SPDX-License-Identifier: MIT */
/*
 * constant_time.c: the primitives of a unix runtime, linked from its archive, by themselves. Under valgrind secrets are marked
 * as undefined, and a branch or an address that depends on one is an error. `depth` prints how much of the stack each takes.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <valgrind/memcheck.h>

#include "bearssl.h"
#include "internal/libcrux_core.h"
#include "libcrux_mlkem768_portable.h"

#include "Hacl_Curve25519_51.h"
#include "Hacl_Ed25519.h"
#include "Hacl_P256.h"
#include "Hacl_P384.h"

#include "rsa_key.h" /* made by the test: N, E, P, Q, DP, DQ, QI */

static uint8_t scalar[64], nonce[64], digest[64], share[97], out[4096], peer[32], data[300];

#define SECRET(octets) VALGRIND_MAKE_MEM_UNDEFINED(octets, sizeof(octets))
#define PUBLIC(octets) VALGRIND_MAKE_MEM_DEFINED(octets, sizeof(octets))

static void fill(void) {
    memset(scalar, 7, sizeof(scalar));
    memset(nonce, 9, sizeof(nonce));
    memset(digest, 3, sizeof(digest));
    memset(peer, 0, sizeof(peer));
    memset(data, 1, sizeof(data));
    peer[0] = 9;
}

static void x25519(void) {
    SECRET(scalar);
    Hacl_Curve25519_51_secret_to_public(out, scalar);
    Hacl_Curve25519_51_scalarmult(out, scalar, peer);
}

static void p256_public(void) {
    SECRET(scalar);
    Hacl_P256_dh_initiator(out, scalar);
}

static void p256_sign(void) {
    SECRET(scalar);
    SECRET(nonce);
    Hacl_P256_ecdsa_sign_p256_without_hash(out, 32, digest, scalar, nonce);
}

static void p256_agree(void) {
    Hacl_P256_dh_initiator(share, nonce);
    SECRET(scalar);
    Hacl_P256_dh_responder(out, share, scalar);
}

static void p384_public(void) {
    SECRET(scalar);
    Hacl_P384_dh_initiator(out, scalar);
}

static void p384_sign(void) {
    SECRET(scalar);
    SECRET(nonce);
    Hacl_P384_ecdsa_sign_p384_without_hash(out, 48, digest, scalar, nonce);
}

static void ed25519(void) {
    SECRET(scalar);
    Hacl_Ed25519_secret_to_public(out, scalar);
    Hacl_Ed25519_sign(out, scalar, 64, digest);
}

static void mlkem768_generate(void) {
    SECRET(scalar);
    libcrux_ml_kem_mlkem768_MlKem768KeyPair pair = libcrux_ml_kem_mlkem768_portable_generate_key_pair(scalar);
    memcpy(out, &pair, 2400);
}

static void mlkem768_encapsulate(void) {
    libcrux_ml_kem_mlkem768_MlKem768KeyPair pair = libcrux_ml_kem_mlkem768_portable_generate_key_pair(scalar);
    VALGRIND_MAKE_MEM_UNDEFINED(nonce, 32);
    tuple_3c result = libcrux_ml_kem_mlkem768_portable_encapsulate(&pair.pk, nonce);
    memcpy(out, result.snd, 32);
}

static void mlkem768_decapsulate(void) {
    libcrux_ml_kem_mlkem768_MlKem768KeyPair pair = libcrux_ml_kem_mlkem768_portable_generate_key_pair(scalar);
    tuple_3c result = libcrux_ml_kem_mlkem768_portable_encapsulate(&pair.pk, nonce);
    VALGRIND_MAKE_MEM_UNDEFINED(pair.sk.value, 1152); /* s; the public half and its hash follow */
    VALGRIND_MAKE_MEM_UNDEFINED(pair.sk.value + 2400 - 32, 32); /* z */
    libcrux_ml_kem_mlkem768_portable_decapsulate(&pair.sk, &result.fst, out);
    result.fst.value[5] ^= 1;
    libcrux_ml_kem_mlkem768_portable_decapsulate(&pair.sk, &result.fst, out);
}

static void aes_gcm(void) {
    br_aes_x86ni_ctr_keys key;
    SECRET(scalar);
    SECRET(data);
    br_aes_x86ni_ctr_init(&key, scalar, 16);
    br_gcm_context gcm;
    br_gcm_init(&gcm, &key.vtable, br_ghash_pclmul);
    br_gcm_reset(&gcm, nonce, 12);
    br_gcm_aad_inject(&gcm, digest, 13);
    br_gcm_flip(&gcm);
    br_gcm_run(&gcm, 1, data, sizeof(data));
    br_gcm_get_tag(&gcm, out);
}

static void chacha20_poly1305(void) {
    SECRET(scalar);
    SECRET(data);
    br_poly1305_ctmulq_run(scalar, nonce, data, sizeof(data), digest, 13, out, br_chacha20_sse2_get(), 1);
}

static void hmac_of(const br_hash_class *hash) {
    br_hmac_key_context key;
    br_hmac_context context;
    SECRET(scalar);
    SECRET(data);
    br_hmac_key_init(&key, hash, scalar, sizeof(scalar));
    br_hmac_init(&context, &key, 0);
    br_hmac_update(&context, data, sizeof(data));
    br_hmac_out(&context, out);
}

static void hmac(void) {
    hmac_of(&br_sha256_vtable);
    hmac_of(&br_sha512_vtable);
}

static void nonces(void) {
    br_hmac_drbg_context drbg;
    SECRET(scalar);
    br_hmac_drbg_init(&drbg, &br_sha256_vtable, scalar, sizeof(scalar));
    br_hmac_drbg_generate(&drbg, out, 32);
}

static void rsa_sign(void) {
    memset(out, 5, sizeof(N));
    br_rsa_private_key key = {8 * sizeof(N), P, sizeof(P), Q, sizeof(Q), DP, sizeof(DP), DQ, sizeof(DQ), QI, sizeof(QI)};
    /* The first octet of a factor is not secret, for lengths are not. */
    VALGRIND_MAKE_MEM_UNDEFINED(P + 1, sizeof(P) - 1);
    VALGRIND_MAKE_MEM_UNDEFINED(Q + 1, sizeof(Q) - 1);
    SECRET(DP);
    SECRET(DQ);
    SECRET(QI);
    br_rsa_i62_private(out, &key);
    PUBLIC(P);
    PUBLIC(Q);
    PUBLIC(DP);
    PUBLIC(DQ);
    PUBLIC(QI);
}

/* Which must be found, or the test would find nothing. */
static void control_branch(void) {
    SECRET(scalar);
    if (scalar[3] & 1) {
        out[0]++;
    }
}

static void control_address(void) {
    SECRET(scalar);
    out[0] = data[scalar[3] & 15];
}

#define CASE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(void);
} CASES[] = {
    CASE(x25519), CASE(p256_public), CASE(p256_sign), CASE(p256_agree), CASE(p384_public), CASE(p384_sign), CASE(ed25519),
    CASE(mlkem768_generate), CASE(mlkem768_encapsulate), CASE(mlkem768_decapsulate), CASE(aes_gcm), CASE(chacha20_poly1305),
    CASE(hmac), CASE(nonces), CASE(rsa_sign), CASE(control_branch), CASE(control_address),
};

#define PAINTED (256 * 1024)

__attribute__((noinline)) static void paint(void) {
    volatile uint8_t below[PAINTED];
    for (size_t i = 0; i < PAINTED; i++) {
        below[i] = 0xa5;
    }
}

__attribute__((noinline)) static size_t painted_over(void) {
    volatile uint8_t below[PAINTED];
    size_t i = 0;
    while (i < PAINTED && below[i] == 0xa5) {
        i++;
    }
    return PAINTED - i;
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        if (argc > 1 && strcmp(argv[1], "depth") == 0) {
            fill();
            paint();
            CASES[i].run();
            printf("%s %zu\n", CASES[i].name, painted_over());
        } else if (argc > 1 && strcmp(argv[1], CASES[i].name) == 0) {
            fill();
            CASES[i].run();
            return 0;
        }
    }
    return argc > 1 && strcmp(argv[1], "depth") == 0 ? 0 : 2;
}
