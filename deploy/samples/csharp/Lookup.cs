// Looks one citizen up through the gateway, with HttpWebRequest (Mono, .NET Framework 4.7.2 or newer).
//
//   # The authority of the gateway's certificate is one that this user's store trusts (README.md says how).
//   openssl pkcs12 -export -legacy -in system.pem -out system.p12    # this system's certificate and private key
//   export GATEWAY_URL=https://gateway.example:8443
//   export GATEWAY_IDENTITY=system.p12 GATEWAY_PASSWORD=...
//   mono lookup.exe < keys.json                                      # {"id": "...", "full_name": "...", "date_of_birth": "..."}
//
// Prints the fields that this system may see, one a line. Ends with 2 if nobody matches, with 1 if refused.
using System;
using System.IO;
using System.Net;
using System.Runtime.Serialization.Json;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Threading;
using System.Xml;
using System.Xml.Linq;

static class Lookup
{
    const int Attempts = 5;
    const int Longest = 60; // seconds: what would take longer is for an operator

    static int Main()
    {
        // Names are not of the console's character set.
        Console.SetOut(new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false)) { AutoFlush = true });
        var identity = new X509Certificate2(Setting("GATEWAY_IDENTITY"), Setting("GATEWAY_PASSWORD"));
        var keys = ReadAll(Console.OpenStandardInput());
        try
        {
            return LookUp(identity, keys);
        }
        catch (WebException error)
        {
            Console.Error.WriteLine($"no answer: {error.GetBaseException().Message}");
            return 1;
        }
    }

    static int LookUp(X509Certificate2 identity, byte[] keys)
    {
        for (var attempt = 1; ; attempt++)
        {
            using (var answer = Post(identity, keys))
            {
                var body = Json(answer);
                if (answer.StatusCode == HttpStatusCode.OK)
                {
                    PrintFields("", body);
                    return 0;
                }
                // application/problem+json: `code` is stable, `detail` says what to do.
                var code = (string)body.Element("code");
                if (code == "no_match")
                {
                    Console.Error.WriteLine("nobody matches: check the number, the name and the date of birth");
                    return 2;
                }
                // Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
                var status = (int)answer.StatusCode;
                var passes = status == 429 || status == 503 || status == 504;
                if (!passes || !int.TryParse(answer.Headers["Retry-After"], out var wait) || wait > Longest || attempt == Attempts)
                {
                    var request = answer.Headers["Gateway-Request-Id"];
                    Console.Error.WriteLine($"refused: {code}: {(string)body.Element("detail")} (request {request})");
                    return 1;
                }
                Console.Error.WriteLine($"{status} {code}: again in {wait} s");
                Thread.Sleep(TimeSpan.FromSeconds(wait));
            }
        }
    }

    static HttpWebResponse Post(X509Certificate2 identity, byte[] keys)
    {
        var request = WebRequest.CreateHttp(Setting("GATEWAY_URL") + "/population/v1/citizens/lookup");
        request.Method = "POST";
        request.ContentType = "application/json";
        request.Headers["Gateway-Purpose"] = Environment.GetEnvironmentVariable("GATEWAY_PURPOSE") ?? "assessment";
        request.ClientCertificates.Add(identity);
        request.Timeout = 30_000;
        using (var body = request.GetRequestStream())
            body.Write(keys, 0, keys.Length);
        try
        {
            return (HttpWebResponse)request.GetResponse();
        }
        catch (WebException refusal) when (refusal.Response is HttpWebResponse)
        {
            return (HttpWebResponse)refusal.Response;
        }
    }

    // The reader of JSON that every .NET has.
    static XElement Json(HttpWebResponse answer)
    {
        var bytes = ReadAll(answer.GetResponseStream());
        using (var reader = JsonReaderWriterFactory.CreateJsonReader(bytes, XmlDictionaryReaderQuotas.Max))
            return XElement.Load(reader);
    }

    // Every field with its path, such as `permanent_residence.province`. A field that is withheld is not there.
    static void PrintFields(string name, XElement value)
    {
        var type = (string)value.Attribute("type");
        if (type != "object" && type != "array")
        {
            Console.WriteLine($"{name}: {(type == "null" ? "null" : value.Value)}");
            return;
        }
        var at = 0;
        foreach (var member in value.Elements())
        {
            var key = type == "array" ? (at++).ToString() : member.Name.LocalName;
            PrintFields(name == "" ? key : $"{name}.{key}", member);
        }
    }

    static byte[] ReadAll(Stream stream)
    {
        using (var all = new MemoryStream())
        {
            stream.CopyTo(all);
            return all.ToArray();
        }
    }

    static string Setting(string name) =>
        Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException($"set {name}");
}
