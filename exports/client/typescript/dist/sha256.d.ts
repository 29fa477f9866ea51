/** SHA-256: by the platform where it has it, else here (FIPS 180-4). Browsers have it on https and loopback alone. */
/** The SHA-256 of `data` as 64 lower-case hexadecimal digits. */
export declare function sha256(data: Uint8Array): Promise<string>;
/** The same without help of the platform, which is several times slower. */
export declare function plainSha256(data: Uint8Array): string;
