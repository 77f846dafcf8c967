import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.text.Normalizer;
import java.time.Duration;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Asks the gateway with java.net.http.HttpClient (Java 17 or newer, nothing else).
 *
 *   openssl pkcs12 -export -in system.pem -out system.p12 -passout pass:changeit
 *   java -Dfile.encoding=UTF-8 Client.java https://gateway.example:8443 gateway-ca.pem system.p12 2
 *
 * The last argument is the HTTP version, 1.1 or 2. Prints one JSON object with the answers.
 */
public class Client {
    static final char[] PASSWORD = "changeit".toCharArray();
    static final String ID = "001187974118";
    static final String CLAIMS = """
            {"id": "%s", "full_name": "%s", "date_of_birth": "1987-03-14"%s}""";

    final HttpClient http;
    final String gateway;

    Client(String gateway, Path authority, Path identity, HttpClient.Version version) throws Exception {
        this.gateway = gateway;
        this.http = HttpClient.newBuilder().sslContext(tls(authority, identity)).version(version).build();
    }

    public static void main(String[] args) throws Exception {
        var version = args[3].equals("2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1;
        var client = new Client(args[0], Path.of(args[1]), Path.of(args[2]), version);

        // Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
        var nfc = Normalizer.normalize("Lê Thị Hoa", Normalizer.Form.NFC);
        var nfd = Normalizer.normalize("Lê Thị Hoa", Normalizer.Form.NFD);
        var lookup = "/population/v1/citizens/lookup";
        var composed = shown(client.post(lookup, CLAIMS.formatted(ID, nfc, "")));
        var decomposed = shown(client.post(lookup, CLAIMS.formatted(ID, nfd, "")));

        var read = shown(client.get("/population/v1/citizens/" + ID, "assessment"));

        // Which of these claims are right? The answer is yes or no for each.
        var claims = CLAIMS.formatted(ID, nfc, ", \"phone\": \"0900000000\"");
        var verified = shown(client.post("/population/v1/citizens/verify", claims));

        // Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says
        // what to do.
        var refusal = client.get("/population/v1/citizens/" + ID, null);
        var refused = """
                {"status": %d, "code": "%s", "detail": "%s"}""".formatted(
                refusal.statusCode(), member(refusal.body(), "code"), member(refusal.body(), "detail"));

        var line = """
                {"lookups": [%s, %s], "read": %s, "verified": %s, "refused": %s}
                """.formatted(composed, decomposed, read, verified, refused);
        System.out.write(line.getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    HttpResponse<String> get(String path, String purpose) throws Exception {
        return send(HttpRequest.newBuilder(URI.create(gateway + path)).GET(), purpose);
    }

    HttpResponse<String> post(String path, String json) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(gateway + path))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(json));
        return send(request, "assessment");
    }

    private HttpResponse<String> send(HttpRequest.Builder request, String purpose) throws Exception {
        if (purpose != null) {
            request.header("Gateway-Purpose", purpose);
        }
        return http.send(request.timeout(Duration.ofSeconds(30)).build(), BodyHandlers.ofString(StandardCharsets.UTF_8));
    }

    static String shown(HttpResponse<String> response) {
        if (response.statusCode() != 200) {
            throw new IllegalStateException("refused: " + response.statusCode() + " " + member(response.body(), "code"));
        }
        return response.body();
    }

    /** A text member of a JSON object. Use the JSON library that you have. */
    static String member(String json, String name) {
        var found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json);
        return found.find() ? found.group(1) : "";
    }

    static SSLContext tls(Path authority, Path identity) throws Exception {
        var trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (var pem = Files.newInputStream(authority)) {
            trusted.setCertificateEntry("gateway", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);

        var own = KeyStore.getInstance("PKCS12");
        try (var file = Files.newInputStream(identity)) {
            own.load(file, PASSWORD);
        }
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, PASSWORD);

        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }
}
